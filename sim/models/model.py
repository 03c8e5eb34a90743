"""The facts of one decoder-only transformer, and the counts that follow from them."""

from dataclasses import dataclass

from sim.errors import ModelError
from sim.models.dtypes import ACTIVATION_BYTES, kv_bytes_per_element, weight_bytes_per_element


@dataclass(frozen=True, slots=True)
class Model:
    """A decoder-only transformer as its config.json describes it; sizes are counts of numbers, not bytes."""

    name: str
    family: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int  # width of the dense MLP; 0 when every layer is a mixture
    vocab: int
    max_position: int
    tied_embeddings: bool = False
    gated_mlp: bool = True
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    lm_head_bias: bool = False
    qk_norm: bool = False  # one RMSNorm of head_dim for queries and one for keys, in every layer
    norms_per_layer: int = 2
    norm_bias: bool = False  # LayerNorm rather than RMSNorm
    parallel_blocks: bool = False  # attention and MLP read the same normed input (Phi-1, Phi-2)
    rotary: bool = True
    learned_positions: int = 0  # rows of a learned position table (OPT)
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_expert_intermediate: int = 0  # one expert that every token passes, with a gate (Qwen2-MoE)
    moe_layers: int = 0  # the other layers have the dense MLP
    experts_spread: int = 1  # groups of GPUs that each hold a part of the experts: data-parallel ranks
    sliding_window: int = 0  # tokens; 0 = none
    sliding_layers: int = 0
    embeds: bool = True  # has the embedding: all but the later stages of a pipeline
    samples: bool = True  # has the final norm and the LM head: all but the earlier stages
    notes: tuple[str, ...] = ()

    @property
    def full_layers(self) -> int:
        """Layers that attend to the whole context."""
        return self.layers - self.sliding_layers

    @property
    def dense_layers(self) -> int:
        """Layers with the dense MLP."""
        return self.layers - self.moe_layers

    @property
    def mlp_matrices(self) -> int:
        """Matrices of one MLP: gate, up and down, or only up and down."""
        return 3 if self.gated_mlp else 2

    @property
    def num_parameters(self) -> int:
        """All parameters, tied embeddings counted once: the number that model cards print."""
        return self._quantisable(1) + self._kept(1)

    @property
    def num_active_parameters(self) -> int:
        """Parameters that one token passes: of a mixture, only its `experts_per_token` experts."""
        idle = (self.experts - self.experts_per_token) * self.moe_layers
        return self.num_parameters - idle * self.mlp_matrices * self.hidden * self.expert_intermediate

    def check_tp(self, tp: int) -> None:
        """Raise ModelError unless the model can be split over `tp` GPUs as vLLM splits it."""
        if tp < 1:
            raise ModelError(f"{self.name}: tensor_parallel must be at least 1, not {tp}")
        if self.heads % tp:
            raise ModelError(f"{self.name}: tensor_parallel {tp} does not divide its {self.heads} heads")
        if self.kv_heads % tp and tp % self.kv_heads:
            raise ModelError(
                f"{self.name}: tensor_parallel {tp} neither divides nor is a multiple of its {self.kv_heads} KV heads"
            )
        widths = (self.intermediate, self.expert_intermediate, self.shared_expert_intermediate)
        for width in widths:
            if width % tp:
                raise ModelError(f"{self.name}: tensor_parallel {tp} does not divide its MLP width {width}")

    def heads_on_gpu(self, tp: int) -> int:
        """Query heads of one GPU."""
        self.check_tp(tp)
        return self.heads // tp

    def kv_heads_on_gpu(self, tp: int) -> int:
        """KV heads of one GPU; with more GPUs than KV heads, each GPU holds a copy of one."""
        self.check_tp(tp)
        return max(1, self.kv_heads // tp)

    def weight_bytes(self, dtype: str = "bf16", tp: int = 1) -> int:
        """Bytes of weights on one of `tp` GPUs.

        Projections and experts are stored in `dtype` (int4 with its scales); embedding, LM head, norms,
        biases and routers stay bf16, as vLLM keeps them. Embedding and LM head are split by vocabulary, norms
        and routers are copied. Raises ModelError for an unknown dtype or a `tp` that does not divide.
        """
        self.check_tp(tp)
        quantised = self._quantisable(tp) * weight_bytes_per_element(dtype)
        return round(quantised + self._kept(tp) * ACTIVATION_BYTES)

    def kv_bytes_per_token(self, kv_dtype: str = "bf16", tp: int = 1) -> int:
        """Bytes of keys and values of one token, all layers, on one of `tp` GPUs."""
        per_layer = 2 * self.kv_heads_on_gpu(tp) * self.head_dim * kv_bytes_per_element(kv_dtype)
        return self.layers * per_layer

    def _quantisable(self, tp: int) -> int:
        """Elements of the projections and experts of all layers on one GPU."""
        qkv = (self.heads // tp + 2 * max(1, self.kv_heads // tp)) * self.head_dim * self.hidden
        out = self.heads // tp * self.head_dim * self.hidden
        per_width = self.mlp_matrices * self.hidden
        mlp = self.dense_layers * per_width * (self.intermediate // tp)
        expert_width = self.experts // self.experts_spread * (self.expert_intermediate // tp)
        mixture = self.moe_layers * per_width * (expert_width + self.shared_expert_intermediate // tp)
        return self.layers * (qkv + out) + mlp + mixture

    def _kept(self, tp: int) -> int:
        """Elements on one GPU that stay bf16: embeddings, norms, biases, routers."""
        norm = self.hidden * (2 if self.norm_bias else 1)
        norms = self.norms_per_layer * norm + (2 * self.head_dim if self.qk_norm else 0)
        qkv_width = (self.heads // tp + 2 * max(1, self.kv_heads // tp)) * self.head_dim
        biases = (qkv_width if self.qkv_bias else 0) + (self.hidden if self.o_bias else 0)
        if self.mlp_bias:
            ups = 2 if self.gated_mlp else 1
            biases += ups * self.intermediate // tp + self.hidden
        shared_gate = self.hidden if self.shared_expert_intermediate else 0
        routers = self.moe_layers * (self.hidden * self.experts + shared_gate)
        return self._embeddings(tp) + self.layers * (norms + biases) + norm * self.samples + routers

    def _embeddings(self, tp: int) -> int:
        """Embedding and LM head (once if tied) on one GPU, and the copied position table."""
        tables = self.embeds + (self.samples and not (self.tied_embeddings and self.embeds))
        rows = -(-self.vocab // tp)
        bias = rows if self.lm_head_bias and self.samples else 0
        return tables * rows * self.hidden + bias + self.learned_positions * self.hidden * self.embeds
