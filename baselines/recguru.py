"""RecGURU: user vectors of two domains that a critic cannot tell apart, then recommendation in one of them.

Source: Li et al., WSDM 2022 (arXiv:2111.10093), for domains without common users; the adversary is that of the
released code, a Wasserstein critic, where the paper has a log-likelihood GAN. The sources are one domain, the target
is the other. Three phases: an encoder and a decoder a domain learn to rebuild sequences from one vector h each; a
critic is trained to tell the domains' vectors apart and the encoder to deceive it; a recommendation decoder is trained
on the target, given h.

In the first two phases h is the encoder's last state over the whole sequence, seen from both sides. A recommender may
only be given an h of what precedes its answer: in the last phase the same encoder is run under a causal mask, so that
its state at a position is the h of the prefix that ends there, and all prefixes cost one pass.

Legend: B rows, L tokens a row, T asked positions, S sequences of a batch, N items, M negatives, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.batches import MAX_LENGTH, PADDING, Batch, Windows, pack, whole_windows
from benchmark.domain import Sequences
from benchmark.errors import InputError
from benchmark.layers import (
    DROPOUT_SPACE,
    EPSILON,
    INITIAL_STD,
    Block,
    Dropout,
    SequenceEncoder,
    Sizes,
    initialise,
    visible,
)
from benchmark.method import Budget, Material, Method, Model, Phase, SourceMaterial, Trainable, check_ranges
from benchmark.softmax import linear_cross_entropy


@dataclass(frozen=True, kw_only=True)
class RecGURUConfig(Sizes):
    reconstruction_steps: int = 500
    """Gradient steps of the first phase, rounded up to whole passes over the target."""
    generator_steps: int = 1000
    """Gradient steps of the encoder against the critic, rounded like those."""
    critic_steps: int = 5
    """Gradient steps of the critic before each of the encoder's."""
    batch_items: int = 256
    """Target items in a step of the first two phases; as many sequences of the sources go with them (released: 1,024
    sequences of each domain)."""
    critic_factor: int = 1
    """c of the critic's layers: d, c d, 2 c d, c d, 1. Released: 5, which takes 20 times as long."""
    penalty_weight: float = 0.1
    """Of the critic's gradient penalty."""
    negatives: int = 512
    """Items against which the decoders pick the right one: drawn for a step, shared by its positions (released: 30 for
    each position)."""
    bpr: bool = False
    """Released code: pairwise loss in the last phase instead of the softmax over all items."""
    bpr_negatives: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, reconstruction_steps=(0, inf), generator_steps=(0, inf), critic_steps=(1, inf))
        check_ranges(self, batch_items=(1, inf), critic_factor=(1, inf), penalty_weight=(0, inf))
        check_ranges(self, negatives=(1, inf), bpr_negatives=(1, inf))


def ends(batch: Batch) -> Tensor:
    """Flat index of the last token of each sequence, in the order of the segments, [S]."""
    after_BL = F.pad(batch.segments_BL[:, 1:], (0, 1), value=PADDING)
    at_S = ((batch.segments_BL != PADDING) & (batch.segments_BL != after_BL)).flatten().nonzero()[:, 0]
    return at_S[batch.segments_BL.flatten()[at_S].argsort()]


def sampled_softmax(states_TD: Tensor, own_TD: Tensor, others_MD: Tensor, is_own_TM: Tensor) -> Tensor:
    """Mean cross-entropy of picking each state's own item among itself and the others, a scalar.

    is_own_TM: where one of the others is that item again and so counts once only.
    """
    own_T1 = (states_TD * own_TD).sum(-1, keepdim=True)
    others_TM = (states_TD @ others_MD.T).masked_fill(is_own_TM, -torch.inf)
    logits_TC = torch.cat([own_T1.float(), others_TM.float()], 1)
    return F.cross_entropy(logits_TC, torch.zeros(len(logits_TC), dtype=torch.long, device=logits_TC.device))


def gradient_penalty(critic: Callable[[Tensor], Tensor], one_SD: Tensor, other_SD: Tensor) -> Tensor:
    """Mean of (|gradient of the critic| - 1)^2 at a random place between each pair of vectors (arXiv:1704.00028)."""
    share_S1 = torch.rand(len(one_SD), 1, device=one_SD.device)
    between_SD = (share_S1 * one_SD + (1 - share_S1) * other_SD).detach().requires_grad_()
    (gradient_SD,) = torch.autograd.grad(critic(between_SD).sum(), between_SD, create_graph=True)
    return (gradient_SD.norm(dim=1) - 1).square().mean()


def bpr_loss(users_TD: Tensor, wanted_TD: Tensor, others_TMD: Tensor) -> Tensor:
    """-log sigmoid of the wanted item's score less the mean score of the others, mean over positions (released)."""
    wanted_T = (users_TD * wanted_TD).sum(-1)
    others_T = (others_TMD @ users_TD[:, :, None]).mean((1, 2))
    return -F.logsigmoid((wanted_T - others_T).float()).mean()


class Decoder(nn.Module):
    """A causal Transformer whose blocks each read a user vector h first.

    The method lets them attend to copies of h. Attention over copies of one vector returns its value, whoever asks: a
    linear map of h, then dropout, residual and norm as in the blocks.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.positions = nn.Embedding(MAX_LENGTH, sizes.width)
        self.input_norm = nn.LayerNorm(sizes.width, eps=EPSILON)
        self.dropout = Dropout(sizes.dropout)
        self.read = nn.ModuleList(nn.Linear(sizes.width, sizes.width) for _ in range(sizes.layers))
        self.read_norms = nn.ModuleList(nn.LayerNorm(sizes.width, eps=EPSILON) for _ in range(sizes.layers))
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))

    def forward(self, x_BLD: Tensor, h_BLD: Tensor, batch: Batch) -> Tensor:
        """States at ``batch.at_T``, [T, D], of tokens x that are given h."""
        x_BLD = self.dropout(self.input_norm(x_BLD + self.positions(batch.positions_BL)))
        mask = visible(batch)
        *first, last = zip(self.read, self.read_norms, self.blocks, strict=True)
        for read, norm, block in first:
            x_BLD = block(norm(x_BLD + self.dropout(read(h_BLD))), mask)
        read, norm, block = last
        return block(norm(x_BLD + self.dropout(read(h_BLD))), mask, batch.at_T)


class Side(nn.Module):
    """What a domain has of its own: its item table, and the decoder that rebuilds its sequences."""

    def __init__(self, config: RecGURUConfig, n_items: int) -> None:
        super().__init__()
        self.item_table = nn.Embedding(n_items, config.width)
        self.start_D = nn.Parameter(torch.randn(config.width) * INITIAL_STD)
        self.decoder = Decoder(config)


class AutoEncoder(Trainable):
    """An encoder for both domains, and the reconstruction of each domain's sequences from its vectors."""

    def __init__(self, config: RecGURUConfig, material: Material, sources: SourceMaterial) -> None:
        super().__init__()
        self.negatives = config.negatives
        self.encoder = SequenceEncoder(config)
        self.target, self.source = Side(config, material.n_items), Side(config, sources.n_items)
        self.source_sequences = sources.train
        self.source_windows = whole_windows(sources.train)

    def windows(self, sequences: Sequences) -> Windows:
        return whole_windows(sequences)

    def sides(self, batch: Batch) -> tuple[tuple[Side, Batch], tuple[Side, Batch]]:
        """The target with its batch, and the sources with as many sequences, drawn at random."""
        chosen_S = torch.randint(len(self.source_windows), (int(batch.segments_BL.max()) + 1,))
        drawn = pack(self.source_sequences, self.source_windows, chosen_S.numpy())
        return (self.target, batch), (self.source, drawn.to(batch.items_BL.device))

    def users(self, x_BLD: Tensor, batch: Batch) -> Tensor:
        """h of each sequence, [S, D]: the last state, of an encoder that sees all of the sequence."""
        return self.encoder(x_BLD, replace(batch, at_T=ends(batch)), causal=False)

    def rebuild(self, side: Side, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of picking each item of the sequences from those before it and h, a scalar; and h [S, D]."""
        tokens = batch.items_BL.numel()
        others_M = torch.randperm(side.item_table.num_embeddings, device=batch.items_BL.device)[: self.negatives]
        # one look-up for all: each would give a gradient as large as the table
        vectors = side.item_table(torch.cat([batch.items_BL.flatten(), others_M]))
        x_BLD = vectors[:tokens].view(*batch.items_BL.shape, -1)
        h_SD = self.users(x_BLD, batch)
        before_BLD = torch.where(batch.positions_BL[..., None] == 0, side.start_D, F.pad(x_BLD, (0, 0, 1, -1)))
        states_TD = side.decoder(before_BLD, h_SD[batch.segments_BL.clamp(min=0)], batch)
        own_TD, is_own_TM = x_BLD.flatten(0, 1)[batch.at_T], batch.items_BL.flatten()[batch.at_T, None] == others_M
        return sampled_softmax(states_TD, own_TD, vectors[tokens:], is_own_TM), h_SD

    def loss(self, batch: Batch) -> Tensor:
        (target, _), (source, _) = (self.rebuild(*side) for side in self.sides(batch))
        return target + source


class Adversary(Trainable):
    """The autoencoder against a critic, in turn: so many steps of the critic, then one of the autoencoder."""

    steps: Tensor

    def __init__(self, config: RecGURUConfig, autoencoder: AutoEncoder) -> None:
        super().__init__()
        self.config, self.autoencoder = config, autoencoder
        width, inner = config.width, config.critic_factor * config.width
        self.critic = nn.Sequential(
            *(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, 2 * inner), nn.ReLU()),
            *(nn.Linear(2 * inner, inner), nn.ReLU(), nn.Linear(inner, 1)),
        )
        # whose turn it is must survive an interruption
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def windows(self, sequences: Sequences) -> Windows:
        return self.autoencoder.windows(sequences)

    def loss(self, batch: Batch) -> Tensor:
        turn = int(self.steps) % (self.config.critic_steps + 1)
        self.steps += 1
        sides = self.autoencoder.sides(batch)
        return self.critic_loss(sides) if turn < self.config.critic_steps else self.generator_loss(sides)

    def critic_loss(self, sides: tuple[tuple[Side, Batch], tuple[Side, Batch]]) -> Tensor:
        """Less the Wasserstein difference of the domains, with the gradient penalty; the vectors are constants."""
        with torch.no_grad():
            target_SD, source_SD = (
                self.autoencoder.users(side.item_table(own.items_BL), own).float() for side, own in sides
            )
        with torch.autocast(target_SD.device.type, enabled=False):
            gap = self.critic(target_SD).mean() - self.critic(source_SD).mean()
            return self.config.penalty_weight * gradient_penalty(self.critic, target_SD, source_SD) - gap

    def generator_loss(self, sides: tuple[tuple[Side, Batch], tuple[Side, Batch]]) -> Tensor:
        """Both reconstructions and the Wasserstein difference, weighted alike; the critic is a constant."""
        (target, target_SD), (source, source_SD) = (self.autoencoder.rebuild(*side) for side in sides)
        weights = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        with torch.autocast(target_SD.device.type, enabled=False):
            score_target_S1, score_source_S1 = (
                torch.func.functional_call(self.critic, weights, (h_SD.float(),)) for h_SD in (target_SD, source_SD)
            )
            return target + source + score_target_S1.mean() - score_source_S1.mean()


class RecGURU(Model):
    """s = Decoder(e_i, h) with h the causal encoder's states; the score of an item is its dot product with s."""

    def __init__(self, config: RecGURUConfig, material: Material) -> None:
        super().__init__()
        if material.sources is None:
            raise InputError("RecGURU learns from source domains and got none")
        self.config = config
        self.decoder = Decoder(config)
        autoencoder = AutoEncoder(config, material, material.sources)
        self.apply(initialise)
        autoencoder.apply(initialise)
        self.adversary = Adversary(config, autoencoder)
        self.steps_a_pass = max(1, round(len(material.train.items) / config.batch_items))

    def phases(self) -> list[Phase]:
        config = self.config
        adversarial_steps = config.generator_steps * (config.critic_steps + 1)
        return [
            Phase(
                name="reconstruction",
                trainable=self.adversary.autoencoder,
                epochs=-(-config.reconstruction_steps // self.steps_a_pass),
                learning_rate=1e-3,
                batch_targets=config.batch_items,
            ),
            Phase(
                name="adversarial",
                trainable=self.adversary,
                epochs=-(-adversarial_steps // self.steps_a_pass),
                learning_rate=1e-4,
                batch_targets=config.batch_items,
                betas=(0.5, 0.9),
            ),
        ]

    def items(self) -> Tensor:
        return self.adversary.autoencoder.target.item_table.weight

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        x_BLD = F.embedding(batch.items_BL, items_ND)
        everywhere = torch.arange(batch.items_BL.numel(), device=x_BLD.device)
        h_BLD = self.adversary.autoencoder.encoder(x_BLD, replace(batch, at_T=everywhere)).view_as(x_BLD)
        return self.decoder(x_BLD, h_BLD, batch)

    def loss(self, batch: Batch) -> Tensor:
        items_ND = self.items()
        users_TD = self.users(batch, items_ND)
        if not self.config.bpr:
            return linear_cross_entropy(users_TD, items_ND, batch.targets_T)
        shape = (len(users_TD), self.config.bpr_negatives)
        others_TM = torch.randint(len(items_ND), shape, device=users_TD.device)
        return bpr_loss(users_TD, F.embedding(batch.targets_T, items_ND), F.embedding(others_TM, items_ND))


METHODS = (
    Method(
        name="RecGURU",
        family="id",
        role="paper",
        version=1,
        paper="Li et al., WSDM 2022, arXiv:2111.10093",
        config=RecGURUConfig,
        build=RecGURU,
        space=DROPOUT_SPACE,
        needs=frozenset({"sources"}),
        note="our adaptation: the sources merged into one domain, no common users; the encoder is causal in the last "
        "phase and trained with it; full softmax (released: BPR, an option); decoders told from 512 shared negatives; "
        "a smaller critic without dropout. Budget: 500 reconstruction and 1,000 generator steps of 256 target items "
        "and as many source sequences; literature: 2,000 and 20,000 steps and the released critic",
        budgets={
            "literature": Budget(
                config={"reconstruction_steps": 2000, "generator_steps": 20_000, "critic_factor": 5},
            )
        },
    ),
)
