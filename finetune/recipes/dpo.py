"""Direct preference optimization of a LoRA adapter (edge: trl): Rafailov et al. 2023.

    python -m finetune.recipes.dpo --config finetune/recipes/dpo.yaml --data pairs.jsonl --out DIR

Read from top to bottom: pairs, plan, model, trainer, course. The reference is the base itself, with the adapter
switched off, so that only one copy of the base is in memory. Pairs are not packed: TRL's loss wants one answer a row.
"""

from trl import DPOConfig

from finetune.order import Reporter, Trained, TrainingOrder
from finetune.recipes.command import run
from finetune.training.adapter import arguments, load_base, load_tokenizer, with_adapter
from finetune.training.batches import PairSteps, pair_lengths
from finetune.training.corpus import digest_of, encoder_of, pairs_of
from finetune.training.course import Course
from finetune.training.failures import told_as_failures
from finetune.training.group import Group, grouped
from finetune.training.plan import Plan, Shape, steps_of
from finetune.training.quiet import quiet
from finetune.training.trainers import PairTrainer


@quiet()
@told_as_failures()
@grouped
def train(order: TrainingOrder, reporter: Reporter, *, group: Group) -> Trained:
    """The adapter of the best look at the validation pairs, or of the last step where there are none."""
    numbers = order.hyperparameters

    # Pairs: a prompt with the preferred answer, and the same prompt with the rejected one.
    encoder = encoder_of(order.base)
    data = pairs_of(order.training, encoder, longest=numbers.max_length, reporter=reporter)
    held_out = None
    if order.validation is not None:
        held_out = pairs_of(order.validation, encoder, longest=numbers.max_length, reporter=reporter)

    # The plan: which pairs each step has. Those of about one length go through the model together.
    lengths = pair_lengths(data)
    shape = Shape.on(order.device, lengths, packing=False, part=group.part)
    plan = Plan(lengths, epochs=numbers.n_epochs, batch=numbers.batch_size, shape=shape, seed=order.seed)
    reporter.planned(steps=len(plan), tokens=plan.tokens)

    # The model: the base as it is, and an adapter that changes nothing yet.
    tokenizer = load_tokenizer(order)
    model = with_adapter(load_base(order), order)

    # The trainer: TRL's loss and transformers' loop, one optimizer step of the plan at a time.
    trainer = PairTrainer(
        model=model,
        ref_model=None,
        args=DPOConfig(**arguments(model, order, steps=len(plan)), max_length=None, beta=numbers.beta),
        train_dataset=PairSteps(data, plan, pad=tokenizer.pad_token_id or 0),
        processing_class=tokenizer,
        group=group,
    )

    # The course: tell, look, keep and stop after every step, from the first or from a checkpoint.
    looks = [] if held_out is None else steps_of(pair_lengths(held_out), shape=shape)
    return Course(
        order,
        reporter,
        trainer=trainer,
        held_out=PairSteps(held_out or data, looks, pad=tokenizer.pad_token_id or 0),
        digest=digest_of(order, data, held_out),
    ).run()


if __name__ == "__main__":
    run(train, recipe="dpo")
