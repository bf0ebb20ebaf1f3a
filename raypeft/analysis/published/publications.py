"""The publications whose tables raypeft ships: the origin of the figures, and their limits.

Only figures are taken, which are facts; no text and no code.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A publication and its tables, each a CSV file in this folder."""

    name: str  # as on the command line
    citation: str
    source: str  # of the figures
    caveats: tuple[str, ...]  # the limits of its scores
    tables: Mapping[int, tuple[str, str]]  # number to file and title

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the notes to print below its rankings."""
        return (f"Scores of {self.citation}. {self.source}", *self.caveats)


_FOUND = (
    Publication(
        name="dutt2024",
        citation=(
            'Dutt et al., "Parameter-Efficient Fine-Tuning for Medical Image Analysis: The Missed '
            'Opportunity", MIDL 2024'
        ),
        source="Figures as printed in Tables 2 to 5.",
        caveats=(
            "The paper's splits are by image; its averaging of F1 and the features of its FID are not said: "
            "equal names are not equal protocols (docs/protocol.md).",
        ),
        tables={
            2: ("table2_resnet50_f1", "ResNet-50, F1"),
            3: ("table3_vit_f1", "ViT-B, ViT-L and ViT-H, F1"),
            4: ("table4_sd_fid", "Stable Diffusion on MIMIC-CXR, FID"),
            5: ("table5_ssl_f1", "ViT-B pre-trained by MAE and by CLIP, F1"),
        },
    ),
    Publication(
        name="osu2024",
        citation=(
            'Mai et al., "Lessons and Insights from a Unifying Study of Parameter-Efficient Fine-Tuning '
            '(PEFT) in Visual Recognition", CVPR 2025 (arXiv 2409.16434)'
        ),
        source=(
            "Figures: avg_acc and inserted_parameters of tune_output/default_vtab in github.com/OSU-MLB/"
            "ViT_PEFT_Vision at cea7e21, which states no licence."
        ),
        caveats=(
            "Full fine-tuning was hardly tuned: of two rates, 0.001 and 0.01, the lower was taken on 18 of "
            "19 data sets, and its mean accuracy is 0.585 beside 0.656 in vpetl2024. Its rank says little.",
            "One run a cell, scored after its last epoch; natural images, 1,000 for training.",
        ),
        tables={1: ("osu_vtab_accuracy", "ViT-B/16 on VTAB-1k, accuracy")},
    ),
    Publication(
        name="vpetl2024",
        citation=(
            'Xin et al., "V-PETL Bench: A Unified Visual Parameter-Efficient Transfer Learning Benchmark", '
            "NeurIPS 2024"
        ),
        source=(
            "Figures of README.md in github.com/synbol/Parameter-Efficient-Transfer-Learning-Benchmark at "
            "c188fad, which states no licence."
        ),
        caveats=(
            "Learning rates are set by hand there for each method and data set; one figure a cell, without a "
            "spread; natural images.",
        ),
        tables={
            1: ("vpetl_vtab_accuracy", "ViT-B/16 on VTAB-1k, accuracy"),
            2: ("vpetl_fgvc_accuracy", "ViT-B/16 on five fine-grained data sets, accuracy"),
        },
    ),
)

PUBLICATIONS: Mapping[str, Publication] = {one.name: one for one in _FOUND}
"""By name."""

PAPER = PUBLICATIONS["dutt2024"]
"""The one whose claims raypeft checks."""
