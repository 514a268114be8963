"""Supervised fine-tuning of a LoRA adapter on a base in 4 bits (edge: trl): QLoRA, Dettmers et al. 2023.

    python -m finetune.recipes.qlora_sft --config finetune/recipes/qlora_sft.yaml --data train.jsonl --out DIR

Read from top to bottom: examples, plan, model, trainer, course. The numbers are the order's.
"""

from trl import SFTConfig

from finetune.order import Reporter, Trained, TrainingOrder
from finetune.recipes.command import run
from finetune.training.adapter import arguments, load_base, load_tokenizer, with_adapter
from finetune.training.batches import ExampleSteps
from finetune.training.corpus import digest_of, encoder_of, examples_of
from finetune.training.course import Course
from finetune.training.failures import told_as_failures
from finetune.training.group import Group, grouped
from finetune.training.plan import Plan, Shape, steps_of
from finetune.training.quiet import quiet
from finetune.training.trainers import ExampleTrainer


@quiet()
@told_as_failures()
@grouped
def train(order: TrainingOrder, reporter: Reporter, *, group: Group) -> Trained:
    """The adapter of the best look at the validation examples, or of the last step where there are none."""
    numbers = order.hyperparameters

    # Examples: token ids, and which of them are learned. Nothing else of the file is kept.
    encoder = encoder_of(order.base)
    data = examples_of(order.training, encoder, longest=numbers.max_length, reporter=reporter)
    held_out = None
    if order.validation is not None:
        held_out = examples_of(order.validation, encoder, longest=numbers.max_length, reporter=reporter)

    # The plan: which examples each step has, and how they share rows. A function of lengths, seed and step.
    shape = Shape.on(order.device, data.lengths, packing=numbers.packing, part=group.part)
    plan = Plan(data.lengths, epochs=numbers.n_epochs, batch=numbers.batch_size, shape=shape, seed=order.seed)
    reporter.planned(steps=len(plan), tokens=plan.tokens)

    # The model: the base in NF4 (doubly quantised), which is never written, and an adapter in bfloat16 upon it.
    tokenizer = load_tokenizer(order)
    model = with_adapter(load_base(order), order)

    # The trainer: TRL's loss and transformers' loop, one optimizer step of the plan at a time.
    trainer = ExampleTrainer(
        model=model,
        args=SFTConfig(
            **arguments(model, order, steps=len(plan)), max_length=None, dataset_kwargs={"skip_prepare_dataset": True}
        ),
        train_dataset=ExampleSteps(data, plan, pad=tokenizer.pad_token_id or 0),
        processing_class=tokenizer,
        group=group,
    )

    # The course: tell, look, keep and stop after every step, from the first or from a checkpoint.
    looks = [] if held_out is None else steps_of(held_out.lengths, shape=shape)
    return Course(
        order,
        reporter,
        trainer=trainer,
        held_out=ExampleSteps(held_out or data, looks, pad=tokenizer.pad_token_id or 0),
        digest=digest_of(order, data, held_out),
    ).run()


if __name__ == "__main__":
    run(train, recipe="qlora_sft")
