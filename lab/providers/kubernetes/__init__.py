"""Stands in for the official kubernetes plugin, for any kind that the cluster serves.

https://www.pulumi.com/registry/packages/kubernetes/
"""
