"""Side by side on one node: this program, BuildKit's own manifests, docker buildx's driver."""
