"""The options that the caller gives to a component, where they are meant for its children."""

import pulumi


def reaching_children(opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions | None:
    """The same *opts*, with `ignore_changes` for every child that has the property.

    Pulumi hands the others down, and keeps this one to the component, which has no property.
    """
    if opts is None or not opts.ignore_changes:
        return opts
    ignored = pulumi.ResourceOptions(ignore_changes=opts.ignore_changes)

    def hand_down(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        if not isinstance(args.resource, pulumi.CustomResource):
            return None
        merged = pulumi.ResourceOptions.merge(args.opts, ignored)
        return pulumi.ResourceTransformationResult(args.props, merged)

    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transformations=[hand_down]))
