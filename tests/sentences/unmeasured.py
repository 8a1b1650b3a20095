"""Sentences that no run of a rule could contradict, by their beginning, with what they are instead."""

ADVICE = {  # for what kind of tensor, and how to use it
    "Batch normalization needs its statistics recomputed at x.",
    "For matrices, and kernels seen as matrices; the rest goes to AdamW.",
    "For matrices, and kernels seen as matrices; vectors are better off with AdamW.",
    "For the matrices and kernels of hidden layers",
    "For the matrices of hidden layers; embeddings, the output layer and vectors are better off",
    "Pass an estimate of the diagonal",
    "At every tenth step or so, pass the gradient for labels that are sampled",
    "Sophia-H's is v times the product Hv",
    "The size is a property of the model: give groups their scale.",
    "The statistics of batch normalization have to be recomputed for the mean",
    "This replaces gradient clipping where the loss spikes.",
    "Use `scion_sign` for the output layer and `scion_rms` for an embedding",
    "With a warm-up, set safeguard_warmup.",
    "For full-batch gradients: those of mini-batches change sign by chance.",
    "The authors' code also has a fixed bound; for that, stack `clip_by_global_norm`.",
    "lr needs a warm-up.",
}

AUTHORS = {  # what the authors did, found or recommend; the paper is cited next to it
    "Found by a search over programs.",
    "It tolerates large learning rates: the authors take five to ten times Adam's.",
    "Its successor is `prodigy`.",
    "The author recommends beta 0.965 for language",
    "The authors evaluate with an average of the weights, and find that necessary.",
    "The authors found this form less stable, and replaced it.",
    "The paper counts every linear layer among them but the output layer",
    "The paper warms up alpha and beta3 over the whole run.",
    "The radius is far larger there than in hidden layers: the authors take 3000 against 50",
    "The third version of the paper has none.",
    "A step along the weights scales the logits, which lowers the loss without learning anything.",
}

WORDS = {  # what something is called
    "A row is an output neuron, or a token of an embedding.",
    "A row is the vector of one token.",
    "In the paper it is `scheduled_decay`.",
    "The paper's algorithm is `mechanic_paper`, and optax's form `mechanic_clipped`.",
    "The rule is the same.",
    "With the gradient of one sample it is SGD",
    "Workers that train together need to exchange only one bit per weight.",
    "optimi: `decouple_lr=True`.",
    "timm: `caution=True`.",
}

COMPUTED = {  # what is computed, as a first line says it: see the oracles and the witnesses
    "One power iteration, from the directions of the previous step, replaces Newton-Schulz.",
    "The decay is of the weights before the rule's step.",
    "This is the authors' code, mechanic_pytorch: its decay is of the weights after the rule's step",
    "Where one side of a matrix is longer than the other, the first gradient does not determine",
}

UNMEASURED = tuple(ADVICE | AUTHORS | WORDS | COMPUTED)
