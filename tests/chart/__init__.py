"""The Helm chart and the kustomize folders as tests see them: rendered, listed, compared.

It must not start a cluster; whoever has one passes its kubeconfig.
"""

from chart.deploy import HELM_ONLY, OVERLAYS, kustomize, plain
from chart.helm import CHART, NAMESPACE, RELEASE, HelmError, helm, helm_program, render
from chart.objects import Manifest, by_name, find, one, settings

__all__ = [
    "CHART",
    "HELM_ONLY",
    "NAMESPACE",
    "OVERLAYS",
    "RELEASE",
    "HelmError",
    "Manifest",
    "by_name",
    "find",
    "helm",
    "helm_program",
    "kustomize",
    "one",
    "plain",
    "render",
    "settings",
]
