"""The `train`, `loss` and `tracking` sections of params.yaml."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field

from panvision.core.levels import CENTER_RADIUS
from panvision.core.params import ParamsError, Settings

Weight = Annotated[float, Field(ge=0.0, le=1000.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
MinSteps = Annotated[int, Field(ge=0, le=10_000_000)]


class LossSettings(Settings):
    """L = seg · L_seg + det · L_det + cls · L_cls.

    Attributes:
        weighting: `fixed` is the sum above, `uncertainty` learns a factor for each task besides its weight (Kendall
            et al. 2018). The best model is chosen by the sum above either way.
        seg: weight of the mask's loss.
        det: weight of the boxes' loss.
        cls: weight of the state's loss. Under AdamW a head that shares no trained weight barely feels its weight, so
            this one acts through the shared backbone: in phase 2.
        dice: weight, within the mask's loss, of a soft Dice loss per image (Milletari et al. 2016) beside the binary
            cross-entropy of the pixels; 0 is off. It counts small pans as much as large ones.
        focal_gamma: how much less a sure answer counts in the focal loss (Lin et al. 2017) of boxes' classes and of the
            state; 0: no less.
        focal_alpha: in the focal loss of boxes' classes, weight of classes that are present; absent classes have
            1 - `focal_alpha`. The classification loss does not use it.
        box: loss on the stride-normalised distances (`smooth_l1`) or on the boxes (`giou`).
        state: loss of the state head, `focal` or `cross_entropy`.
        label_smoothing: share of a state's label spread evenly over all states.
        ordinal: share of a state's label spread evenly over the one or two states beside it in `classification.order`:
            labels of ordered classes are soft (as in Diaz & Marathe 2019, whose labels reach all classes). 0 is off.
        mask_class: name of the detection class that is the segmented object; `null` is off. Its boxes are then also
            learned from the masks, in the segmentation images, where all other classes are ignored; and the mask from
            its boxes, in the detection images, by their projections (BoxInst, Tian et al. 2021). One object per mask.
        center_radius: centre sampling radius in strides (FCOS, Tian et al. 2020).
    """

    weighting: Literal["fixed", "uncertainty"] = "fixed"
    seg: Weight = 1.0
    det: Weight = 1.0
    cls: Weight = 2.0
    dice: Weight = 0.0
    focal_gamma: Annotated[float, Field(ge=0.0, le=10.0)] = 2.0
    focal_alpha: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    box: Literal["smooth_l1", "giou"] = "smooth_l1"
    state: Literal["focal", "cross_entropy"] = "focal"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    ordinal: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    mask_class: Annotated[str, Field(min_length=1)] | None = None
    center_radius: Annotated[float, Field(gt=0.0, le=10.0)] = CENTER_RADIUS

    def check_order(self, order: Sequence[str] | None) -> None:
        """Check that the states have an order if their labels are spread along it.

        Raises:
            ParamsError: they have none.
        """
        if self.ordinal and order is None:
            raise ParamsError(
                "loss.ordinal: spreads labels along classification.order, which is null; list the states there from "
                "the first to the last, or set loss.ordinal to 0.0"
            )


class Phase1Settings(Settings):
    """Backbone frozen, FPN and heads trained.

    Attributes:
        epochs: how many, at most (`train.patience`); with 0 phase 2 starts from the first weights.
        min_steps: least number of optimiser steps: a small dataset is passed several times in an epoch.
        lr: peak learning rate of phase 1.
    """

    epochs: Annotated[int, Field(ge=0, le=10_000)] = 3
    min_steps: MinSteps = 0
    lr: LearningRate = 1e-3


class Phase2Settings(Settings):
    """Everything trained.

    Attributes:
        epochs: how many, at most (`train.patience`).
        min_steps: least number of optimiser steps, as in phase 1.
        lr: peak learning rate of phase 2.
        backbone_factor: share of `lr` that the backbone is trained with. Pretrained features change less than new
            heads have to.
        layer_decay: factor on the share from each stage of the backbone to the one before; 1: no difference.
    """

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    min_steps: MinSteps = 0
    lr: LearningRate = 1e-4
    backbone_factor: Share = 1.0
    layer_decay: Share = 1.0


class TrainSettings(Settings):
    """The two phases.

    Attributes:
        batch_size: images per task in one pass through the model, over all devices together.
        accumulate: batches in one optimiser step. The gradient is that of one batch with all their images,
            but that BatchNorm which is trained sees them batch by batch.
        epoch_steps: optimiser steps in an epoch; `null` is one pass over the largest set, smaller ones cycle, or more
            if the phase would have fewer than its `min_steps`.
        phase1, phase2: epochs and peak learning rate.
        class_balance: how far classes with few images come more often in the classification dataset: one with n images
            comes in proportion to n^(1 - this value); 0 is as often as there are images, 1 every class equally often.
        schedule: learning rate over a phase: `constant`, `cosine` or `exponential` (down to `final_lr`), or
            `one_cycle` (Smith and Topin 2019, as in PyTorch: up from 1/25 of the peak, then down to nearly 0).
        final_lr: share of the peak learning rate at which `cosine` and `exponential` end.
        warmup_steps: optimiser steps at the start of each phase over which the learning rate rises linearly to what
            the schedule says; 0 is off.
        weight_decay: AdamW's weight decay, on weights with two or more dimensions.
        grad_clip: largest norm of the gradient; `null` is unlimited.
        patience: epochs without a better validation score after which a phase stops.
        select: which epoch a phase keeps: the `best` validation score, or the `last` one. With few validation images
            the best score is partly luck.
        batch_norm: `frozen` keeps the backbone's BatchNorm statistics in phase 2 (safe with pretrained
            weights and small batches), `train` updates them (needed from random weights); `auto` chooses between
            these two by `model.weights`.
        ema_decay: decay per step of the averaged weights that are validated and kept; 0 is off.
        amp: mixed precision: `auto` is bfloat16 or float16 on CUDA, where convolutions that stay in float32 use TF32 as
            PyTorch does by default, and float32 on a CPU. `off` is float32 everywhere, without TF32.
        compile: whether PyTorch compiles the training steps' passes through the model (`torch.compile`): the first step
            takes minutes, a C++ compiler must be there. Changes the last bits of a result.
        deterministic: use PyTorch's deterministic algorithms. `false` lets cuDNN and `compile` time the kernels of a
            GPU and take the fastest, some of which add in no fixed order: two trainings then differ.
        devices: processes that share each batch, each on its own GPU where there are GPUs.
        workers: loader processes of each device; 0 loads in the training process. Making a batch takes one core 25 to
            50 ms at 256 px, for which a GPU would wait in every step. No bit of a result depends on it.
        save_steps: optimiser steps between two states that an interrupted phase resumes from; `null`: no such
            limit. A state is saved at the end of every epoch in any case.
        save_minutes: minutes between two such states; `null`: no such limit.
    """

    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    epoch_steps: Annotated[int, Field(ge=1)] | None = None
    phase1: Phase1Settings = Phase1Settings()
    phase2: Phase2Settings = Phase2Settings()
    class_balance: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    schedule: Literal["constant", "cosine", "exponential", "one_cycle"] = "cosine"
    final_lr: Annotated[float, Field(gt=0.0, le=1.0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-4
    grad_clip: Annotated[float, Field(gt=0.0)] | None = 1.0
    patience: Annotated[int, Field(ge=1)] = 5
    select: Literal["best", "last"] = "best"
    batch_norm: Literal["auto", "frozen", "train"] = "auto"
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    amp: Literal["auto", "off"] = "auto"
    compile: bool = False
    deterministic: bool = True
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    workers: Annotated[int, Field(ge=0, le=64)] = 2
    save_steps: Annotated[int, Field(ge=1)] | None = None
    save_minutes: Annotated[float, Field(gt=0.0)] | None = 5.0

    def for_weights(self, weights: str | None) -> Self:
        """Return the same settings with `batch_norm` as `auto` chooses it for the backbone's first weights."""
        if self.batch_norm != "auto":
            return self
        return self.model_copy(update={"batch_norm": "train" if weights == "none" else "frozen"})

    def check_weights(self, weights: str | None) -> None:
        """Check that the backbone's BatchNorm is not frozen at the statistics of random weights.

        They are mean 0 and variance 1, so the network would not be normalised at all: of a ResNet-101 C5 has a standard
        deviation of 28,000 instead of about 1.

        Raises:
            ParamsError: it is.
        """
        if weights == "none" and self.batch_norm == "frozen":
            raise ParamsError(
                "train.batch_norm: frozen keeps the BatchNorm statistics of pretrained weights, but model.weights is "
                "none; set train.batch_norm to train, or model.weights to pretrained ones"
            )

    def check_devices(self, devices: int, head_norm: str = "group") -> None:
        """Check that a number of devices can share a batch; `head_norm` is `model.head_norm`.

        Raises:
            ParamsError: they cannot share it evenly, or their BatchNorm cannot be compiled.
        """
        if self.compile and devices > 1 and (self.batch_norm == "train" or head_norm == "batch"):
            raise ParamsError(
                f"train.compile: {devices} devices (train.devices, or torchrun's processes) share BatchNorm's "
                "statistics within the model, which is not compiled; set train.compile to false, or train.batch_norm "
                "to frozen and model.head_norm to group"
            )
        share, left = divmod(self.batch_size, devices)
        if left:
            smaller = f"{share * devices} or " if share else ""
            raise ParamsError(
                f"train.batch_size: {devices} devices (train.devices, or torchrun's processes) cannot share "
                f"{self.batch_size} images per task evenly; set it to {smaller}{(share + 1) * devices}, or lower "
                "train.devices"
            )


class WandbSettings(Settings):
    """Weights & Biases; needs the `wandb` extra.

    Attributes:
        enabled: log both phases there; off, the package is not even imported.
        project: name of the project that the runs belong to.
        entity: user or team that it belongs to; `null` is the account's own.
    """

    enabled: bool = False
    project: Annotated[str, Field(min_length=1)] = "panvision"
    entity: str | None = None


class TrackingSettings(Settings):
    """Services that training is logged to, in addition to the DVC plots."""

    wandb: WandbSettings = WandbSettings()
