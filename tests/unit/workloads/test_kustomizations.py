"""Claims about the ConfigMaps that kustomizations make: whose arguments they are, and whose not."""

from __future__ import annotations

from pathlib import Path

from plimsoll.workloads.files import load


def kustomized(folder: Path, utilization: str) -> None:
    """A base whose ConfigMaps a kustomization makes of a file, variables and literals."""
    folder.mkdir(parents=True)
    (folder / "runtime.env").write_text("# the model\nMODEL_ID=Qwen/Qwen3-4B\nMAX_LEN=4096\n")
    (folder / "start.sh").write_text('vllm serve "$MODEL_ID" --max-model-len "$MAX_LEN"\n')
    (folder / "kustomization.yaml").write_text(
        "resources: [deployment.yaml]\n"
        "configMapGenerator:\n"
        "- {name: runtime, envs: [runtime.env], literals: ['SHARE=" + utilization + "']}\n"
        "- {name: scripts, files: [start.sh, secret=../../outside.txt]}\n"
    )
    (folder / "deployment.yaml").write_text(
        """
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  template:
    spec:
      containers:
      - name: vllm
        image: vllm/vllm-openai:v0.11.0
        command: [bash, /scripts/start.sh]
        envFrom: [{configMapRef: {name: runtime}}]
        resources: {limits: {nvidia.com/gpu: 1}}
        volumeMounts: [{name: scripts, mountPath: /scripts}]
      volumes: [{name: scripts, configMap: {name: scripts}}]
"""
    )


def test_config_maps_that_a_kustomization_makes_are_read(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("not to be read")
    kustomized(tmp_path / "one" / "base", "0.9")
    found = load((str(tmp_path),))
    (read,) = found.deployments[0].served
    assert (read.facts.model, read.facts.max_model_len) == ("Qwen/Qwen3-4B", 4096)
    beside = found.beside(found.deployments[0])
    assert (beside.config_map("default", "runtime") or {})["SHARE"] == "0.9"
    assert list(beside.config_map("default", "scripts") or ()) == ["start.sh"]


def test_config_maps_that_two_kustomizations_make_unlike_are_not_guessed(tmp_path: Path) -> None:
    kustomized(tmp_path / "base", "0.9")
    kustomized(tmp_path / "overlay", "0.8")
    overlay = tmp_path / "overlay" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("[deployment", "[../base, deployment"))
    base, own = load((str(tmp_path),)).deployments
    assert base.served[0].facts.model is None
    assert "model $MODEL_ID" in str(base.served[0].facts.unreadable)
    assert own.served[0].facts.model == "Qwen/Qwen3-4B"


def test_config_maps_of_a_kustomization_count_for_what_it_takes_and_not_for_its_neighbours(
    tmp_path: Path,
) -> None:
    kustomized(tmp_path / "apps" / "a", "0.9")
    (tmp_path / "apps" / "a" / "kustomization.yaml").rename(tmp_path / "apps/a/Kustomization")
    kustomized(tmp_path / "apps" / "b", "0.9")
    (tmp_path / "apps" / "b" / "kustomization.yaml").unlink()
    kustomized(tmp_path / "overlay", "0.9")
    (tmp_path / "overlay" / "deployment.yaml").rename(tmp_path / "apps" / "c.yaml")

    def models() -> dict[str, str | None]:
        served = load((str(tmp_path),)).deployments
        return {
            str(Path(one.file).relative_to(tmp_path)): one.served[0].facts.model
            for one in served
            if one.served
        }

    alone, taken = "apps/a/deployment.yaml", "apps/b/deployment.yaml"
    assert models() == {alone: "Qwen/Qwen3-4B", taken: None, "apps/c.yaml": None}
    kustomization = tmp_path / "overlay" / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("[deployment.yaml", "[../apps/b"))
    assert models()[taken] == "Qwen/Qwen3-4B"
