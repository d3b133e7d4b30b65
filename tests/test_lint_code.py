"""Rules on training code: sources in which each must speak, and idiomatic loops in which none may."""

import ast
from textwrap import dedent

import pytest

from lrbench.lint.code import lint_code

IMPORTS = """
import torch
from torch.optim.lr_scheduler import *

"""


def found(source):
    """(rule, line that it points to) of every finding."""
    lines = (IMPORTS + dedent(source)).splitlines()
    return [(f.rule, lines[f.line - 1].strip()) for f in lint_code("\n".join(lines), "train.py")]


BATCHES = """
        scheduler = {}
        for epoch in range(100):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                scheduler.step()
        """
FEW = [("few-batches", "scheduler.step()")]

MUST_SPEAK = {
    "scheduler first in the batch loop": (
        """
        for batch in loader:
            optimizer.zero_grad()
            model(batch).backward()
            scheduler.step()
            optimizer.step()
        """,
        [("step-order", "scheduler.step()")],
    ),
    "scheduler at the top of the epoch, as before torch 1.1": (
        """
        def main(model, optimizer, scheduler):
            for epoch in range(10):
                scheduler.step()
                for x, y in loader:
                    optimizer.zero_grad()
                    loss(model(x), y).backward()
                    optimizer.step()
        """,
        [("step-order", "scheduler.step()")],
    ),
    "scheduler first, told by its class and not its name": (
        """
        class Trainer:
            def __init__(self, model):
                self.algo = torch.optim.AdamW(model.parameters())
                self.decay = CosineAnnealingLR(self.algo, 100)

            def fit(self):
                while True:
                    self.algo.zero_grad()
                    self.loss().backward()
                    self.decay.step()
                    self.algo.step()
        """,
        [("step-order", "self.decay.step()")],
    ),
    "scheduler first, with a GradScaler": (
        """
        for x in loader:
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(model(x)).backward()
            losses.update(loss.item())
            scheduler.step()
            scaler.step(optimizer)
            scaler.update()
        """,
        [("step-order", "scheduler.step()")],
    ),
    "no zero_grad at all": (
        """
        for epoch in range(3):
            for x in loader:
                model(x).backward()
                optimizer.step()
        """,
        [("no-zero-grad", "optimizer.step()")],
    ),
    "zero_grad once an epoch only": (
        """
        for epoch in range(3):
            opt.zero_grad()
            for x in loader:
                model(x).backward()
                opt.step()
        """,
        [("no-zero-grad", "opt.step()")],
    ),
    "plateau without its metric": (
        """
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)
        for epoch in range(3):
            train_one_epoch(model, optimizer)
            scheduler.step()
        """,
        [("plateau-metric", "scheduler.step()")],
    ),
    "scheduler stepped for every micro batch": (
        """
        scheduler = get_linear_schedule_with_warmup(optimizer, 0, len(loader) // accumulation)
        for i, x in enumerate(loader):
            (model(x) / 4).backward()
            if (i + 1) % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
            scheduler.step()
        """,
        [("accumulation", "scheduler.step()")],
    ),
    "accumulation behind a flag": (
        """
        scheduler = OneCycleLR(optimizer, 0.1, total_steps=epochs * len(loader) // args.accumulate)
        for i, x in enumerate(loader):
            model(x).backward()
            ready = i % args.accumulate == args.accumulate - 1
            if ready:
                optimizer.step()
                optimizer.zero_grad()
            if scheduler is not None:
                scheduler.step()
        """,
        [("accumulation", "scheduler.step()")],
    ),
    "checkpoint without the scheduler": (
        """
        scheduler = OneCycleLR(optimizer, 0.1, total_steps=100 * len(loader))
        if args.resume:
            saved = torch.load(path)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
        for epoch in range(args.start_epoch, 100):
            train(model, optimizer)
            if scheduler is not None:
                scheduler.step()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        """,
        [
            (
                "scheduler-not-saved",
                'torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)',
            )
        ],
    ),
    "checkpoint without the scheduler, by way of a name and a member": (
        """
        class Trainer:
            def __init__(self, params):
                self.optimizer = torch.optim.SGD(params)
                self.lr_policy = StepLR(self.optimizer, 30)

            def save(self):
                state = {"epoch": 1, "optimizer": self.optimizer.state_dict()}
                torch.save(state, "x.pt")

            def resume(self):
                saved = torch.load("x.pt")
                self.optimizer.load_state_dict(saved["optimizer"])
                self.epoch = saved["epoch"]

            def fit(self):
                while self.epoch < 90:
                    self.train()
                    self.lr_policy.step()
        """,
        [("scheduler-not-saved", 'torch.save(state, "x.pt")')],
    ),
    "epochs in T_max, stepped for every batch": (
        """
        scheduler = CosineAnnealingLR(optimizer, T_max=args.epochs)
        for epoch in range(args.epochs):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                scheduler.step()
        """,
        [("epochs-for-steps", "scheduler.step()")],
    ),
    "one-cycle of as many steps as there are epochs, stepped for every batch": (
        """
        def main(num_epochs):
            sched = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=num_epochs)
            for epoch in range(num_epochs):
                for x in loader:
                    opt.zero_grad()
                    model(x).backward()
                    opt.step()
                    sched.step()
        """,
        [("epochs-for-steps", "sched.step()")],
    ),
    "one-cycle in steps, stepped once an epoch": (
        """
        scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=len(loader) * epochs)
        for epoch in range(epochs):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            scheduler.step()
        """,
        [("steps-for-epochs", "scheduler.step()")],
    ),
    "one-cycle with steps_per_epoch, stepped once an epoch": (
        """
        scheduler = OneCycleLR(optimizer, max_lr=0.1, epochs=9, steps_per_epoch=len(loader))
        for epoch in range(9):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            scheduler.step()
        """,
        [("steps-for-epochs", "scheduler.step()")],
    ),
    "transformers' total by way of a name, stepped once an epoch": (
        """
        total = len(train_loader) * epochs
        scheduler = get_linear_schedule_with_warmup(optimizer, 0, total)
        for epoch in range(epochs):
            for x in train_loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            scheduler.step()
        """,
        [("steps-for-epochs", "scheduler.step()")],
    ),
    "scheduler first, before a function of the file that trains": (
        """
        def train(epoch):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()

        scheduler = StepLR(optimizer, 30)
        for epoch in range(90):
            scheduler.step()
            train(epoch)
        """,
        [("step-order", "scheduler.step()")],
    ),
    "scheduler first, before a function of another file that trains": (
        """
        from engine import train

        scheduler = MultiStepLR(optimizer, [30, 60])
        for epoch in range(90):
            scheduler.step()
            train(loader, model, optimizer, epoch)
        """,
        [("step-order", "scheduler.step()")],
    ),
    "epochs in a scheduler handed to a helper, under another name": (
        """
        def train(model, opt, decay=None):
            for x in loader:
                opt.zero_grad()
                model(x).backward()
                opt.step()
                if decay is not None:
                    decay.step()

        def main(epochs):
            optimizer = torch.optim.SGD(model.parameters())
            scheduler = CosineAnnealingLR(optimizer, epochs)
            for epoch in range(epochs):
                train(model, optimizer, scheduler)
        """,
        [("epochs-for-steps", "decay.step()")],
    ),
    "epochs in a member that is made, looped over and stepped in three methods": (
        """
        class Trainer:
            def __init__(self, params, epochs):
                self.optimizer = torch.optim.SGD(params)
                self.scheduler = CosineAnnealingLR(self.optimizer, T_max=epochs)

            def fit(self, epochs):
                for epoch in range(epochs):
                    self.train_epoch()

            def train_epoch(self):
                for x in self.loader:
                    self.optimizer.zero_grad()
                    self.model(x).backward()
                    self.optimizer.step()
                    self.scheduler.step()
        """,
        [("epochs-for-steps", "self.scheduler.step()")],
    ),
    "T_max in batches, stepped once an epoch": (
        """
        scheduler = CosineAnnealingLR(optimizer, T_max=len(train_loader))
        for epoch in range(epochs):
            train_one_epoch(model, optimizer)
            scheduler.step()

        def train_one_epoch(model, optimizer):
            for x in train_loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
        """,
        [("steps-for-epochs", "scheduler.step()")],
    ),
    "a warmup in epochs, before a length in steps": (
        """
        total = len(loader) * args.epochs
        scheduler = get_linear_schedule_with_warmup(optimizer, args.warmup_epochs, total)
        for epoch in range(args.epochs):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                scheduler.step()
        """,
        [("epochs-for-steps", "scheduler.step()")],
    ),
    "a part of a sequence in epochs": (
        """
        warmup = LinearLR(optimizer, total_iters=warmup_epochs)
        main = CosineAnnealingLR(optimizer, len(loader) * epochs)
        scheduler = SequentialLR(optimizer, [warmup, main], milestones=[500])
        for epoch in range(epochs):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                scheduler.step()
        """,
        [("epochs-for-steps", "scheduler.step()")],
    ),
    "epochs x batches, stepped for every n-th batch": (
        """
        total = epochs * len(loader)
        scheduler = OneCycleLR(optimizer, 0.1, total_steps=total)
        for epoch in range(epochs):
            for i, x in enumerate(loader):
                model(x).backward()
                if (i + 1) % accumulate == 0:
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
        """,
        [("length-without-accumulation", "scheduler.step()")],
    ),
    "a dataset over its batch size, stepped for every n-th batch": (
        """
        steps = int(len(train) / BATCH_SIZE * EPOCHS)
        scheduler = get_linear_schedule_with_warmup(optimizer, 0, steps)
        for epoch in range(EPOCHS):
            for i, x in enumerate(loader):
                model(x).backward()
                if (i + 1) % ACCUM == 0:
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
        """,
        [("length-without-accumulation", "scheduler.step()")],
    ),
    "stepped for every batch and once an epoch": (
        """
        scheduler = ExponentialLR(optimizer, gamma=0.999)
        for epoch in range(3):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                scheduler.step()
            scheduler.step()
        """,
        [("stepped-twice", "scheduler.step()")],
    ),
    "made in the loop over epochs": (
        """
        for epoch in range(30):
            scheduler = StepLR(optimizer, step_size=10)
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            scheduler.step()
        """,
        [("made-in-loop", "scheduler = StepLR(optimizer, step_size=10)")],
    ),
    "optimizer made anew after its scheduler": (
        """
        optimizer = torch.optim.SGD(model.parameters())
        scheduler = StepLR(optimizer, step_size=10)
        optimizer = torch.optim.Adam(model.parameters())
        for epoch in range(30):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            scheduler.step()
        """,
        [("optimizer-replaced", "optimizer = torch.optim.Adam(model.parameters())")],
    ),
    "never stepped": (
        """
        scheduler = StepLR(optimizer, step_size=10)
        for epoch in range(30):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            print(scheduler.get_last_lr())
        """,
        [("never-stepped", "scheduler = StepLR(optimizer, step_size=10)")],
    ),
    "milestones of epochs, stepped for every batch": (BATCHES.format("MultiStepLR(optimizer, [30, 60, 90])"), FEW),
    "a step size of epochs, stepped for every batch": (BATCHES.format("StepLR(optimizer, 30)"), FEW),
    "a decay of epochs, stepped for every batch": (BATCHES.format("ExponentialLR(optimizer, 0.95)"), FEW),
    "T_max of as many batches as there are epochs": (BATCHES.format("CosineAnnealingLR(optimizer, 100)"), FEW),
    "plateau shown every batch": (
        """
        scheduler = ReduceLROnPlateau(optimizer, patience=3)
        for epoch in range(3):
            for x in loader:
                optimizer.zero_grad()
                loss = model(x)
                loss.backward()
                optimizer.step()
                scheduler.step(loss)
        """,
        [("plateau-per-batch", "scheduler.step(loss)")],
    ),
    "plateau that waits for a minimum of an accuracy": (
        """
        scheduler = ReduceLROnPlateau(optimizer, "min")
        for epoch in range(3):
            train(model, optimizer)
            loss, val_acc = validate(model)
            scheduler.step(val_acc)
        """,
        [("plateau-mode", "scheduler.step(val_acc)")],
    ),
    "plateau that waits for a maximum of a loss": (
        """
        scheduler = ReduceLROnPlateau(optimizer, mode="max")
        for epoch in range(3):
            train(model, optimizer)
            scheduler.step(metrics["val_loss"])
        """,
        [("plateau-mode", 'scheduler.step(metrics["val_loss"])')],
    ),
    "checkpoint without the scheduler, by an own function": (
        """
        def main(model, optimizer, start_epoch):
            scheduler = StepLR(optimizer, 30)
            optimizer.load_state_dict(torch.load("x")["optimizer"])
            for epoch in range(start_epoch, 90):
                train(model, optimizer)
                scheduler.step()
                save_checkpoint({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "x")
        """,
        [
            (
                "scheduler-not-saved",
                'save_checkpoint({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "x")',
            )
        ],
    ),
    "checkpoint without the scheduler, in an own function that is not given it": (
        """
        def keep(model, optimizer, path):
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)

        def main(model, optimizer, resumed):
            scheduler = StepLR(optimizer, 30)
            start = 0
            if resumed:
                optimizer.load_state_dict(torch.load("x")["optimizer"])
                start = resumed
            for epoch in range(start, 90):
                train(model, optimizer)
                scheduler.step()
                keep(model, optimizer, "x")
        """,
        [
            (
                "scheduler-not-saved",
                'torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)',
            )
        ],
    ),
}
CLEAN = {
    "a scheduler by an own function that is told where to go on, and a constant one": """
        class Trainer:
            def __init__(self, params):
                self.optimizer = torch.optim.SGD(params)
                self.scheduler = get_scheduler(self.optimizer, args)

            def resume(self, steps):
                self.optimizer.load_state_dict(torch.load("x"))
                self.scheduler = get_scheduler(self.optimizer, args, steps)

            def save(self):
                torch.save({"optimizer": self.optimizer.state_dict()}, "x")

        def constant(optimizer):
            scheduler = get_constant_schedule(optimizer)
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
        """,
    "stepped for every batch with a length in batches, or one out of sight": """
        def run(optimizer, scheduler, accumulate):
            for i, x in enumerate(loader):
                model(x).backward()
                if i % accumulate == accumulate - 1:
                    optimizer.step()
                    optimizer.zero_grad()
                scheduler.step()

        optimizer = torch.optim.SGD(params)
        scheduler = OneCycleLR(optimizer, 0.1, total_steps=epochs * len(loader))
        run(optimizer, scheduler, 4)
        """,
    "a scheduler by an own function, made in a loop with its optimizer": """
        for x in loader:
            inner = get_optimizer(model, args)
            scheduler = get_scheduler(inner, args)
            inner.zero_grad()
            model(x).backward()
            inner.step()
            scheduler.step()
        """,
    "scheduler between two functions that train": """
        scheduler = MultiStepLR(optimizer, [30, 60])
        for epoch in range(90):
            train_generator(loader, model, optimizer, epoch)
            scheduler.step()
            train_critic(loader, model, other, epoch)
        """,
    "torch tutorial, per epoch": """
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = StepLR(optimizer, step_size=30, gamma=0.1)
        for epoch in range(100):
            for input, target in dataset:
                optimizer.zero_grad()
                output = model(input)
                loss_fn(output, target).backward()
                optimizer.step()
            scheduler.step()
            torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, "x")
        """,
    "one-cycle per batch": """
        def fit(model, loader, epochs):
            optimizer = torch.optim.AdamW(model.parameters())
            scheduler = OneCycleLR(optimizer, 0.1, epochs=epochs, steps_per_epoch=len(loader))
            for epoch in range(epochs):
                for x in loader:
                    model(x).backward()
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
        """,
    "transformers without a trainer, with accelerate": """
        total = math.ceil(len(loader) / args.accumulation) * args.num_train_epochs
        lr_scheduler = get_scheduler(name="linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=total)
        model, optimizer, loader, lr_scheduler = accelerator.prepare(model, optimizer, loader, lr_scheduler)
        for epoch in range(args.num_train_epochs):
            model.train()
            for step, batch in enumerate(loader):
                with accelerator.accumulate(model):
                    accelerator.backward(model(**batch).loss)
                    optimizer.step()
                    lr_scheduler.step()
                    optimizer.zero_grad()
            accelerator.save_state("out")
        """,
    "transformers with manual accumulation": """
        for step, batch in enumerate(loader):
            loss = model(**batch).loss / args.gradient_accumulation_steps
            loss.backward()
            if step % args.gradient_accumulation_steps == 0 or step == len(loader) - 1:
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
        """,
    "Lightning, manual optimisation": """
        class Gan(LightningModule):
            def training_step(self, batch, batch_idx):
                g_opt, d_opt = self.optimizers()
                sch = self.lr_schedulers()
                for _ in range(2):
                    d_opt.zero_grad()
                    self.manual_backward(self.d_loss(batch))
                    d_opt.step()
                g_opt.zero_grad()
                self.manual_backward(self.g_loss(batch))
                g_opt.step()
                if (batch_idx + 1) % 10 == 0:
                    sch.step()

            def configure_optimizers(self):
                optimizer = torch.optim.Adam(self.parameters())
                return [optimizer], [CosineAnnealingLR(optimizer, T_max=self.trainer.max_epochs)]
        """,
    "automatic mixed precision that skips the scheduler with the update": """
        scaler = torch.amp.GradScaler()
        for x in loader:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda"):
                loss = model(x)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            if before <= scaler.get_scale():
                scheduler.step()
        """,
    "plateau with its metric": """
        scheduler = ReduceLROnPlateau(optimizer, "min")
        for epoch in range(10):
            train(model, optimizer)
            scheduler.step(validate(model))
        """,
    "one name for a plateau or another scheduler": """
        if args.plateau:
            scheduler = ReduceLROnPlateau(optimizer)
        else:
            scheduler = StepLR(optimizer, 30)
        for epoch in range(10):
            loss = train(model, optimizer)
            if args.plateau:
                scheduler.step(loss)
            else:
                scheduler.step()
        """,
    "scheduler at the top of every epoch but the first": """
        for epoch in range(10):
            if epoch > 0:
                scheduler.step()
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
        """,
    "updates in a helper, then another phase": """
        for epoch in range(10):
            train_one_epoch(model, loader, optimizer)
            scheduler.step()
            for x in hard_examples:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
        """,
    "timm, which sets the epoch": """
        lr_scheduler, num_epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=300)
        for epoch in range(num_epochs):
            lr_scheduler.step(epoch)
            for i, x in enumerate(loader):
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                lr_scheduler.step_update(num_updates=i)
            lr_scheduler.step(epoch + 1, metric)
        """,
    "warm restarts with fractions of an epoch": """
        scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=epochs)
        for epoch in range(epochs):
            for i, x in enumerate(loader):
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                scheduler.step(epoch + i / len(loader))
        """,
    "L-BFGS closure": """
        for step in range(20):
            def closure():
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                return loss
            optimizer.step(closure)
            scheduler.step()
        """,
    "gradients zeroed by hand or by a function of the file": """
        def clear(parameters):
            for p in parameters:
                p.grad = None

        def reset(optimizer):
            optimizer.zero_grad()

        def one():
            for x in loader:
                for p in model.parameters():
                    p.grad = None
                model(x).backward()
                optimizer.step()

        def two():
            for x in loader:
                clear(model.parameters())
                model(x).backward()
                optimizer.step()

        def three():
            for x in loader:
                reset(optimizer)
                model(x).backward()
                optimizer.step()
        """,
    "distributed autograd, whose gradients live in a context": """
        for x in loader:
            with dist_autograd.context() as context_id:
                dist_autograd.backward(context_id, [model(x)])
                opt.step(context_id)
        """,
    "frameworks that keep gradients their own way": """
        def mxnet(trainer_optimizer):
            for x in loader:
                autograd.backward(net(x))
                trainer_optimizer.step(len(x))

        def sharded(optimizer):
            for x in loader:
                optimizer.backward(model(x))
                optimizer.step()
        """,
    "schedulers that may be stepped, made or saved where one cannot see": """
        class Task(Base):
            def __init__(self, params):
                self.optimizer = torch.optim.SGD(params)
                self.scheduler = StepLR(self.optimizer, 30)

            def fit(self):
                for epoch in range(30):
                    self.optimizer.zero_grad()
                    self.loss().backward()
                    self.optimizer.step()

        class Batches:
            def __init__(self, params):
                self.optimizer = torch.optim.SGD(params)
                self.scheduler = StepLR(self.optimizer, 30)

            def train(self):
                for x in self.loader:
                    self.optimizer.zero_grad()
                    self.loss(x).backward()
                    self.optimizer.step()

        def decays_all_the_same(optimizer):
            for epoch in range(30):
                scheduler = ExponentialLR(optimizer, 0.9)
                train(model, optimizer)
                scheduler.step()
        """,
    "a checkpoint of the best weights, loaded again where the rate falls": """
        def main(model, optimizer):
            scheduler = StepLR(optimizer, 30)
            for epoch in range(90):
                train(model, optimizer)
                scheduler.step()
                torch.save({"epoch": epoch, "optimizer": optimizer.state_dict()}, "best")
                if epoch in drops:
                    optimizer.load_state_dict(torch.load("best")["optimizer"])
            print(torch.load("best")["epoch"])
        """,
    "a step that was turned off": """
        scheduler = StepLR(optimizer, step_size=10)
        for epoch in range(30):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
            # scheduler.step()
        """,
    "a plateau, which goes on from the optimizer's rate": """
        scheduler = ReduceLROnPlateau(optimizer)
        saved = torch.load("x")
        optimizer.load_state_dict(saved["optimizer"])
        for epoch in range(saved["epoch"], 90):
            train(model, optimizer)
            scheduler.step(validate(model))
            torch.save({"epoch": epoch, "optimizer": optimizer.state_dict()}, "x")
        """,
    "accelerate, which skips what is no update": """
        scheduler = OneCycleLR(optimizer, 0.1, total_steps=len(loader) // accumulation)
        model, optimizer = accelerator.prepare(model, optimizer)
        for i, x in enumerate(loader):
            accelerator.backward(model(x))
            if (i + 1) % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
            scheduler.step()
        """,
    "full-batch training": """
        scheduler = CosineAnnealingLR(optimizer, T_max=epochs)
        for epoch in range(epochs):
            optimizer.zero_grad()
            for chunk in chunks:
                model(chunk).backward()
            optimizer.step()
            scheduler.step()
        """,
    "two optimizers with a scheduler each": """
        for real in loader:
            opt_d.zero_grad()
            d_loss(real).backward()
            opt_d.step()
            sched_d.step()
            opt_g.zero_grad()
            g_loss().backward()
            opt_g.step()
            sched_g.step()
        """,
    "a generator updated for every n-th batch": """
        for i, real in enumerate(loader):
            opt_d.zero_grad()
            d_loss(real).backward()
            opt_d.step()
            if i % 5 == 0:
                opt_g.zero_grad()
                g_loss().backward()
                opt_g.step()
            scheduler.step()
        """,
    "an update skipped for a loss that is not finite": """
        for x in loader:
            optimizer.zero_grad()
            loss = model(x)
            loss.backward()
            if torch.isfinite(loss):
                optimizer.step()
            scheduler.step()
        """,
    "scheduler in a file of its own, or added later, or by another name": """
        def one(optimizer, scheduler):
            torch.save({"optimizer": optimizer.state_dict()}, "a")
            torch.save(scheduler.state_dict(), "b")

        def two(optimizer, scheduler):
            state = {"optimizer": optimizer.state_dict()}
            if scheduler is not None:
                state["lr"] = scheduler.state_dict()
            torch.save(state, "a")

        def three(optimizer):
            decay = StepLR(optimizer, 3)
            torch.save({"optimizer": optimizer.state_dict(), "decay": decay.state_dict()}, "a")

        def four(optimizer, scheduler, extra):
            torch.save({"optimizer": optimizer.state_dict(), **extra}, "a")
        """,
    "no scheduler, or the model alone": """
        def one(model, optimizer):
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "a")

        def two(model, scheduler):
            torch.save(model.state_dict(), "a")
        """,
    "diffusion sampling": """
        noise_scheduler = DDPMScheduler()
        for t in noise_scheduler.timesteps:
            sample = noise_scheduler.step(model(sample, t), t, sample).prev_sample
        """,
    "diffusion training, which saves no noise schedule": """
        noise_scheduler = DDPMScheduler(num_train_timesteps=1000)
        for x in loader:
            optimizer.zero_grad()
            model(noise_scheduler.add_noise(x)).backward()
            optimizer.step()
            torch.save({"optimizer": optimizer.state_dict()}, "a")
        """,
    "epoch counts in a scheduler that is stepped with the last batch": """
        scheduler = CosineAnnealingLR(optimizer, T_max=num_epochs)
        for epoch in range(num_epochs):
            for i, x in enumerate(loader):
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                if i == len(loader) - 1:
                    scheduler.step()
        """,
    "nothing to do with torch": """
        import sched

        scheduler = sched.scheduler()
        while True:
            scheduler.run()
            env.step(action)
        """,
    "a scheduler rebuilt where it was": """
        def main(model, optimizer, start):
            scheduler = MultiStepLR(optimizer, [30, 60], last_epoch=start - 1)
            for epoch in range(start, 90):
                train(model, optimizer)
                scheduler.step()
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "x")
        """,
    "a scheduler brought forward by its own steps, or by its last epoch": """
        def one(model, optimizer, start):
            scheduler = StepLR(optimizer, 30)
            for _ in range(start):
                scheduler.step()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "x")
        """,
    "a checkpoint of the end, one that nothing goes on from, and decays that need no state": """
        def at_the_end(model, optimizer, resume):
            scheduler = StepLR(optimizer, 30)
            for epoch in range(90):
                model(epoch).backward()
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "x")

        class Exponential:
            def __init__(self, params, resume):
                self.optimizer = torch.optim.SGD(params)
                self.scheduler = ExponentialLR(self.optimizer, 0.9)

            def save(self):
                torch.save({"optimizer": self.optimizer.state_dict()}, "x")
        """,
    "a checkpoint that nothing in the file goes on from": """
        def main(model, optimizer):
            scheduler = StepLR(optimizer, 30)
            for epoch in range(90):
                train(model, optimizer)
                scheduler.step()
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "best")
        """,
    "a scheduler told its epoch in another function": """
        start_epoch = torch.load("x")["epoch"]
        scheduler = CosineAnnealingLR(optimizer, 90)

        def test(epoch):
            torch.save({"epoch": epoch, "optimizer": optimizer.state_dict()}, "x")

        for epoch in range(start_epoch, 90):
            train(epoch)
            test(epoch)
            scheduler.step(epoch)
        """,
    "a scheduler without a state, and a table of schedulers": """
        schedulers = {"step": StepLR}
        class Trainer:
            def __init__(self, optimizer):
                self.optimizer = optimizer
                self.scheduler = OwnSchedule("poly", 0.1)

            def save(self):
                torch.save({"optimizer": self.optimizer.state_dict()}, "x")
        """,
    "stepped for every batch or once an epoch, as asked": """
        def train(model, optimizer, scheduler, per_batch):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                if per_batch:
                    scheduler.step()

        def main(per_batch):
            scheduler = ExponentialLR(optimizer, gamma=0.999)
            for epoch in range(3):
                train(model, optimizer, scheduler, per_batch)
                if not per_batch:
                    scheduler.step()
        """,
    "a function that trains, with the scheduler behind it": """
        def train(epoch):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()

        scheduler = StepLR(optimizer, 30)
        for epoch in range(90):
            train(epoch)
            scheduler.step()
        """,
    "a scheduler that a helper is not given": """
        def train(model, opt, decay=None):
            for x in loader:
                opt.zero_grad()
                model(x).backward()
                opt.step()
                if decay is not None:
                    decay.step()

        def main(epochs):
            optimizer = torch.optim.SGD(model.parameters())
            scheduler = CosineAnnealingLR(optimizer, epochs)
            for epoch in range(epochs):
                train(model, optimizer)
                scheduler.step()
        """,
    "members in three methods, in steps": """
        class Trainer:
            def __init__(self, params, epochs):
                self.optimizer = torch.optim.SGD(params)
                self.scheduler = CosineAnnealingLR(self.optimizer, T_max=epochs * len(self.loader))

            def fit(self, epochs):
                for epoch in range(epochs):
                    self.train_epoch()

            def train_epoch(self):
                for x in self.loader:
                    self.optimizer.zero_grad()
                    self.model(x).backward()
                    self.optimizer.step()
                    self.scheduler.step()
        """,
    "lengths of which one cannot tell, and one that the loop over epochs has": """
        def main(max_steps, per_epoch, args):
            first = StepLR(optimizer, args.step_size)
            second = CosineAnnealingLR(optimizer, max_steps)
            third = CosineAnnealingLR(optimizer, args.epochs * per_epoch)
            for epoch in range(max_steps):
                for x in loader:
                    optimizer.zero_grad()
                    model(x).backward()
                    optimizer.step()
                    third.step()
                first.step()
                second.step()
        """,
    "a warmup in steps": """
        steps_per_epoch = len(loader)
        warmup_steps = args.warmup_epochs * steps_per_epoch
        scheduler = get_linear_schedule_with_warmup(optimizer, warmup_steps, args.epochs * steps_per_epoch)
        for epoch in range(args.epochs):
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
                scheduler.step()
        """,
    "a length in updates": """
        total = epochs * (len(loader) // accumulate)
        scheduler = OneCycleLR(optimizer, 0.1, total_steps=total)
        for epoch in range(epochs):
            for i, x in enumerate(loader):
                model(x).backward()
                if (i + 1) % accumulate == 0:
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
        """,
    "made for every fold with its optimizer": """
        for fold in range(5):
            optimizer = torch.optim.SGD(model.parameters())
            scheduler = StepLR(optimizer, step_size=10)
            for epoch in range(30):
                train(model, optimizer)
                scheduler.step()
        """,
    "made anew in the loop when a phase begins": """
        scheduler = StepLR(optimizer, step_size=10)
        for epoch in range(30):
            if epoch == 10:
                scheduler = CosineAnnealingLR(optimizer, 20)
            train(model, optimizer)
            scheduler.step()
        """,
    "optimizer and scheduler made anew for a second phase": """
        optimizer = torch.optim.SGD(model.parameters())
        scheduler = StepLR(optimizer, step_size=10)
        for epoch in range(30):
            train(model, optimizer)
            scheduler.step()
        optimizer = torch.optim.Adam(model.parameters())
        scheduler = StepLR(optimizer, step_size=10)
        for x in loader:
            optimizer.zero_grad()
            model(x).backward()
            optimizer.step()
            scheduler.step()
        """,
    "a leftover beside rates that are set by hand": """
        scheduler = ReduceLROnPlateau(optimizer)
        for epoch in range(90):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * 0.1 ** (epoch // 30)
            for x in loader:
                optimizer.zero_grad()
                model(x).backward()
                optimizer.step()
        """,
    "handed to someone who may step it": """
        first = StepLR(optimizer, step_size=10)
        second = StepLR(optimizer, step_size=10)
        callbacks = [Steps(second)]
        for x in loader:
            optimizer.zero_grad()
            model(x).backward()
            optimizer.step()
            after_batch(first)
        """,
    "numbers of batches, and slow decays": BATCHES.format("MultiStepLR(optimizer, [3000, 6000])")
    + BATCHES.format("StepLR(optimizer, 30, gamma=0.99)")
    + BATCHES.format("ExponentialLR(optimizer, 0.9999)"),
    "a patient plateau, and one shown every n-th batch": """
        first = ReduceLROnPlateau(optimizer, patience=1000)
        second = ReduceLROnPlateau(optimizer, patience=3)
        for epoch in range(3):
            for i, x in enumerate(loader):
                optimizer.zero_grad()
                loss = model(x)
                loss.backward()
                optimizer.step()
                first.step(loss)
                if i % 500 == 0:
                    second.step(evaluate())
        """,
    "plateaus of the right direction": """
        up = ReduceLROnPlateau(optimizer, mode="max")
        down = ReduceLROnPlateau(optimizer)
        turned = ReduceLROnPlateau(optimizer)
        for epoch in range(3):
            train(model, optimizer)
            val_acc = validate(model)
            up.step(val_acc)
            down.step(1 - val_acc)
            score_f1 = -f1(model)
            turned.step(score_f1)
        """,
}


@pytest.mark.parametrize("name", MUST_SPEAK)
def test_a_mistake_is_found_at_its_line(name):
    source, expected = MUST_SPEAK[name]
    assert found(source) == expected


@pytest.mark.parametrize("name", CLEAN)
def test_idiomatic_code_is_left_in_peace(name):
    assert found(CLEAN[name]) == []


def test_every_rule_about_code_has_a_case():
    rules = {rule for _, expected in MUST_SPEAK.values() for rule, _ in expected}
    assert rules == {
        "step-order", "no-zero-grad", "plateau-metric", "plateau-per-batch", "plateau-mode", "accumulation",
        "scheduler-not-saved", "epochs-for-steps", "steps-for-epochs", "few-batches", "length-without-accumulation",
        "stepped-twice", "made-in-loop", "optimizer-replaced", "never-stepped",
    }  # fmt: skip


def test_messages_name_the_variables_and_the_fix():
    source, _ = MUST_SPEAK["scheduler first in the batch loop"]
    (finding,) = lint_code(dedent(source), "train.py")
    assert finding.severity == "error"
    assert "scheduler.step() comes before optimizer.step() in line 6" in finding.message
    assert "move scheduler.step() below it" in finding.message


def test_a_warmup_in_epochs_is_not_told_to_step_once_an_epoch():
    source, _ = MUST_SPEAK["a warmup in epochs, before a length in steps"]
    (finding,) = lint_code(dedent(source), "train.py")
    assert finding.message.endswith(
        "counts in args.warmup_epochs, a number of epochs, and is stepped for every batch: "
        "multiply it by the number of batches an epoch, len(loader)."
    )


@pytest.mark.parametrize("source", ["def f(:\n", "x = 1\nif x\n", "for"])
def test_what_is_not_python_is_refused_with_file_and_line(source):
    with pytest.raises(ValueError, match=rf"^train\.py:{source.count(chr(10)) or 1}: not valid Python: "):
        lint_code(source, "train.py")


def test_every_source_here_is_python():
    for source in [*CLEAN.values(), *(source for source, _ in MUST_SPEAK.values())]:
        ast.parse(dedent(source))
