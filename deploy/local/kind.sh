#!/usr/bin/env bash
# A cluster on this machine with kind, k3d or minikube, whichever is here: the image built and loaded, the
# chart installed, and an apply that is refused. Variables: TOOL is one of the three to take, NAME the
# cluster's name. An existing cluster of that name is used again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=${NAME:-plimsoll}
tool=""
for each in ${TOOL:-kind k3d minikube}; do
  if command -v "$each" > /dev/null; then tool=$each; break; fi
done
if [ -z "$tool" ]; then
  {
    echo "nothing here makes a cluster: install one of these, then run make kind again"
    echo "  kind      https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
    echo "  k3d       https://k3d.io/#installation"
    echo "  minikube  https://minikube.sigs.k8s.io/docs/start/"
    echo "without a cluster: make demo runs the whole story on an API server of its own"
  } >&2
  exit 1
fi
for each in kubectl helm; do
  command -v "$each" > /dev/null || { echo "$each is not on the PATH: install it first" >&2; exit 1; }
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ARCHIVE=$scratch/image.tar IMAGE=localhost/plimsoll:local deploy/local/image.sh

case $tool in
  kind)
    kind get clusters | grep -qx "$name" || kind create cluster --name "$name" --wait 180s
    kind load image-archive "$scratch/image.tar" --name "$name"
    context=kind-$name gone="kind delete cluster --name $name"
    ;;
  k3d)
    k3d cluster get "$name" > /dev/null 2>&1 || k3d cluster create "$name" --wait
    k3d image import "$scratch/image.tar" --cluster "$name"
    context=k3d-$name gone="k3d cluster delete $name"
    ;;
  minikube)
    minikube status --profile "$name" > /dev/null 2>&1 || minikube start --profile "$name"
    minikube image load "$scratch/image.tar" --profile "$name"
    context=$name gone="minikube delete --profile $name"
    ;;
esac

helm upgrade --install plimsoll charts/plimsoll --kube-context "$context" \
  --namespace plimsoll-system --create-namespace --wait --timeout 5m \
  --set image.registry=localhost --set image.repository=plimsoll --set image.tag=local \
  --set image.pullPolicy=Never

echo
echo "kubectl --context $context apply -f deploy/samples/refused.yaml"
for _ in $(seq "${TRIES:-30}"); do # the webhook's authority is published a moment after the pods are ready
  code=0
  said=$(kubectl --context "$context" apply -f deploy/samples/refused.yaml 2>&1) || code=$?
  case $said in
    *"failed calling webhook"*) sleep "${PAUSE:-2}" ;;
    *) break ;;
  esac
done
echo "$said"
if [ "$code" = 0 ]; then
  echo "it was let in, and must not be: kubectl --context $context -n plimsoll-system get pods" >&2
  exit 1
fi
case $said in
  *"does not fit"*) echo; echo "refused, as it must be. To remove the cluster: $gone" ;;
  *) echo "it was refused for another reason than its memory" >&2; exit 1 ;;
esac
