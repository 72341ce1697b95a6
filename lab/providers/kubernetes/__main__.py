"""The process that the engine starts."""

from lab.providers.kubernetes.provider import Kubernetes
from lab.providers.server import serve

serve(Kubernetes)
