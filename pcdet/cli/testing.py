"""What test.py does: load checkpoints, detect, score, and write the results."""

from __future__ import annotations

import argparse
from contextlib import closing, nullcontext
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from pcdet.cli.reporting import hparams_of, report_newest, report_test
from pcdet.cli.start import choose_split, read_config, start
from pcdet.config import cfg, log_config_to_file
from pcdet.datasets import build_dataloader
from pcdet.engine.device_options import amp_type, prepare_detector
from pcdet.engine.evaluate import eval_one_epoch
from pcdet.models import build_network, unused_arrays
from pcdet.run.checkpoint_folder import epoch_of, list_checkpoints, write_time
from pcdet.run.curve_writer import CurveWriter
from pcdet.run.record import RECORD, RunRecord, file_identity
from pcdet.run.session import Run
from pcdet.run.watch import CheckpointWatch, NewCheckpoint, TestedList, Watch
from pcdet.utils.checkpoint_reading import check_is_there
from pcdet.utils.errors import CheckpointError
from pcdet.utils.io_utils import LateErrors
from pcdet.utils.main_metric import is_main_metric
from pcdet.viewer.results import RESULT


def test(args: argparse.Namespace) -> None:
    """Test what the command line asks for."""
    read_config(args)
    run = start(args, args.batch_size)
    if args.ckpt is not None and not args.report:
        run.from_rank0(lambda: check_is_there(args.ckpt))  # which alone reads it
    if args.split is not None:
        choose_split(args.split)
    run.start_log(run.output_dir / "eval", "eval")
    log_config_to_file(cfg, logger=run.logger)
    test_set, test_loader, _ = build_dataloader(
        run.data_dir,
        run.batch_size,
        run.distributed,
        workers=args.workers,
        logger=run.logger,
        training=False,
        pin_memory=run.device.type == "cuda",
    )
    if args.report:
        weights = None if args.ckpt is None else label_of(args.ckpt)
        run.from_rank0(
            lambda: report_newest(
                run.output_dir, test_set, args.html, run.logger, weights, args.eval_tag
            )
        )
        return
    model = build_network(test_set).to(run.device)
    test_set.unused = unused_arrays(model)
    errors = LateErrors(run.logger)
    if run.rank == 0 and is_foreign(run):
        run.logger.warning(
            "--ckpt, --ckpt_dir: these weights are not of this run, which has its own in %s: their "
            "AP stands in eval/ alone, not among its curves and in %s; another --extra_tag keeps "
            "them apart",
            *(run.ckpt_dir, RECORD),
        )
    if args.eval_all:
        repeat_eval_ckpt(run, model, test_loader, args.ckpt_dir or run.ckpt_dir, errors)
    else:
        identity = run.from_rank0(lambda: load_checkpoint(run, model, single_checkpoint(run)))
        eval_single_ckpt(run, model, test_loader, identity, errors)
    errors.raise_first()


def label_of(ckpt: str) -> str:
    """What a test's folder is called: epoch_N for checkpoint_epoch_N.pth, else the file's name."""
    epoch = epoch_of(ckpt)
    return Path(ckpt).stem if epoch is None else f"epoch_{epoch}"


def is_foreign(run: Run) -> bool:
    """Whether the weights to test are of another folder than those of the run, if it has any."""
    if run.args.ckpt is not None:
        folder = Path(run.args.ckpt).resolve().parent
    else:
        folder = Path(run.args.ckpt_dir or run.ckpt_dir).resolve()
    return folder != run.ckpt_dir.resolve() and bool(list_checkpoints(run.ckpt_dir))


def load_checkpoint(run: Run, model: torch.nn.Module, ckpt: Path) -> dict[str, str]:
    """Load a checkpoint's weights on this rank; return its name and sha256."""
    check_is_there(ckpt)
    identity = file_identity(ckpt)
    # In evaluation mode, which asks for no weights that only a training needs.
    model.eval().load_params_from_file(filename=ckpt, to_cpu=True, logger=run.logger)
    return identity


def share_weights(run: Run, model: torch.nn.Module) -> None:
    """Give all ranks the weights of rank 0, which alone reads the file."""
    if not run.distributed:
        return
    for tensor in model.state_dict().values():
        value = tensor.contiguous()  # as it comes, in channels_last memory perhaps
        torch.distributed.broadcast(value, src=0)
        tensor.copy_(value)


def eval_single_ckpt(
    run: Run,
    model: torch.nn.Module,
    test_loader: DataLoader,
    identity: dict[str, str],
    errors: LateErrors,
) -> None:
    """Test the weights that rank 0 holds; results go to eval/epoch_N/<split>/<eval_tag>.

    The curves are over the epochs, so that only a checkpoint of one has points in them; those of
    another run have none, and are not among the best of this one.

    Args:
        run: of this process.
        model: on rank 0 with the weights to test.
        test_loader: of this rank's frames.
        identity: name and sha256 of the checkpoint.
        errors: takes what could not be written.
    """
    share_weights(run, model)
    detector = prepare_detector(model, run.device, run.args.compile)
    epoch, split = epoch_of(identity["file"]), cfg.MODEL.TEST.SPLIT
    label = label_of(identity["file"])
    result_dir = run.output_dir / "eval" / label / split / run.args.eval_tag
    foreign = is_foreign(run)
    record = RunRecord(run.output_dir, run.logger, writes=run.rank == 0 and not foreign)
    curves = nullcontext()
    if run.rank == 0 and epoch is not None and not foreign:
        curves = closing(CurveWriter(run.output_dir / "tensorboard", run.logger))
    with curves as tb_log:
        results = eval_one_epoch(
            cfg,
            detector,
            test_loader,
            label if epoch is None else epoch,
            run.logger,
            dist_test=run.distributed,
            save_to_file=run.args.save_to_file,
            result_dir=result_dir,
            tb_log=tb_log,
            num_pictures=run.args.pictures,
            amp=amp_type(run.args.amp, run.device, run.logger),
            errors=errors,
        )
        if tb_log is not None:
            metrics = [f"{split}/{name}" for name in results if is_main_metric(name)]
            tb_log.add_hparams(hparams_of(record.read(), cfg.TAG), metrics)
    record.add_evaluation(split, identity, results, run.data_dir)
    result = result_dir / RESULT
    if run.rank == 0 and not {result, *result.parents} & set(map(Path, errors.files)):
        with errors.noted():
            report_test(
                run.output_dir,
                result,
                test_loader.dataset,
                run.args.html,
                run.logger,
                identity,
            )


def repeat_eval_ckpt(
    run: Run,
    model: torch.nn.Module,
    test_loader: DataLoader,
    ckpt_dir: Path,
    errors: LateErrors,
) -> None:
    """Test checkpoints in the order of their epochs as they appear, until the training is over."""
    evaluations = run.output_dir / "eval" / f"eval_all_{run.args.eval_tag}"
    tested = TestedList(evaluations / f"eval_list_{cfg.MODEL.TEST.SPLIT}.txt")
    watch = CheckpointWatch(
        ckpt_dir,
        tested,
        load=lambda path: load_checkpoint(run, model, path),
        start_epoch=run.args.start_epoch,
        max_waiting=60 * run.args.max_waiting_mins,
        logger=run.logger,
    )
    while (news := run.from_rank0(watch.next)) is not Watch.OVER:
        if isinstance(news, NewCheckpoint):
            before = len(errors.messages)
            eval_single_ckpt(run, model, test_loader, news.identity, errors)
            if run.rank == 0 and len(errors.messages) == before:
                with errors.noted():
                    tested.add(news)


def single_checkpoint(run: Run) -> Path:
    """The checkpoint that was asked for, or that of the highest epoch; a newer file is told."""
    if run.args.ckpt is not None:
        return Path(run.args.ckpt)
    ckpt_dir = run.args.ckpt_dir or run.ckpt_dir
    found = list_checkpoints(ckpt_dir)
    if not found:
        raise CheckpointError(
            f"{ckpt_dir}: no checkpoint_epoch_N.pth there; train first or give --ckpt"
        )
    taken, newest = found[-1][1], max((path for _, path in found), key=write_time)
    if write_time(newest) > write_time(taken):
        told = "%s, of the highest epoch, is tested; %s was written later: to test it, give --ckpt"
        run.logger.warning(told, taken, newest.name)
    return taken
