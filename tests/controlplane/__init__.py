"""A real etcd, kube-apiserver and kubectl as plain processes, for the demo and the tests.

It must know nothing of Plimsoll: it starts an empty cluster, whoever uses it fills it.
"""

from controlplane.cluster import ControlPlane
from controlplane.errors import ControlPlaneError, KubectlError
from controlplane.external import ExternalCluster
from controlplane.kubectl import Cluster

__all__ = ["Cluster", "ControlPlane", "ControlPlaneError", "ExternalCluster", "KubectlError"]
