import * as buildkit from "@pulumi/buildkit";
import * as pulumi from "@pulumi/pulumi";

const config = new pulumi.Config();
/** An existing namespace, which may run what rootless buildkitd needs. */
const namespace = config.require("namespace");
/** Name or address at which clients reach a node. */
const host = config.require("host");

/** What clients meet, and what they show: one certificate a client. */
const edge = new buildkit.Certificates("edge", {
    namespace,
    sans: [host],
    clients: ["dev"],
    serverSecretLayouts: ["envoy"],
});

/**
 * Between gateway and buildkitd, under a CA of its own: nobody else can talk to buildkitd.
 * Ten years, since buildkitd reads its certificate once.
 */
const internal = new buildkit.Certificates("internal", {
    namespace,
    sans: [`buildkitd.${namespace}.svc`],
    clients: ["gateway"],
    validityHours: 87_600,
    caValidityHours: 175_200,
});

/** Pods with names and caches of their own; the gateway chooses one for each project. */
const buildkitd = new buildkit.BuildkitStatefulSet("buildkitd", {
    namespace,
    certificates: internal.serverSecrets.apply((secrets) => secrets["daemon"]),
    volume: { size: "10Gi", storageClass: config.get("storageClass"), protect: false },
});

const gateway = new buildkit.Gateway("gateway", {
    namespace,
    upstreamHost: buildkitd.host,
    upstreamSecret: internal.clientSecrets.apply((secrets) => secrets["gateway"]),
    serverSecret: edge.serverSecrets.apply((secrets) => secrets["envoy"]),
    clients: { dev: { role: buildkit.Role.BUILDER } },
    protocol: buildkit.Protocol.HTTP2,
    serviceType: buildkit.ServiceType.NODE_PORT,
    nodePort: config.getNumber("nodePort") ?? 31241,
    host,
});

export const endpoint = gateway.endpoint;
export const clients = edge.bundles;
