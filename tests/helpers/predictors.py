"""Published checkpoints by the columns of their reference scores."""

from __future__ import annotations

RELU = "ava+logos-l14-reluMSE.pth"
HEADS = {
    "sac+logos+ava1-l14-linearMSE": "laion-v2",
    "ava+logos-l14-linearMSE": "laion-v2-ava",
    "ava+logos-l14-reluMSE": "ava+logos-l14-reluMSE.pth",
    "sa_0_4_vit_l_14_linear": "laion-v1-l14",
    "simulacra_sac_public_vit_l_14": "simulacra-l14",
}


def head(name: str, shared):
    return shared / "weights" / name if name.endswith(".pth") else name
