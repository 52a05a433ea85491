"""Data in torch DataLoaders, on any backend, and torch Datasets; only for where PyTorch is."""

import os
import signal
from pathlib import Path

import keras
import numpy as np
import torch
from kinds import SAMPLES, labels, rows, texts
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split
from torch.utils.data._utils import worker as reading


def dataset(count=SAMPLES):
    return TensorDataset(*map(torch.from_numpy, rows(count)))


def loaders(batch_size):
    train = DataLoader(dataset(), batch_size=batch_size, shuffle=True)
    return train, DataLoader(dataset(20), batch_size=batch_size)


def one_loader(batch_size):
    return loaders(batch_size)[0]


def tell(worker):
    reading.MP_STATUS_CHECK_INTERVAL = 600  # else it sees by itself that its parent has ended
    os.write(1, f"drawn by {os.getpid()}\n".encode())


def by_processes(batch_size, persistent=False):
    common = {"batch_size": batch_size, "num_workers": 2, "persistent_workers": persistent}
    common["worker_init_fn"] = tell
    return DataLoader(dataset(), shuffle=True, **common), DataLoader(dataset(20), **common)


def by_processes_that_persist(batch_size):
    return by_processes(batch_size, persistent=True)


def by_spawned_processes(batch_size):
    options = {"num_workers": 1, "multiprocessing_context": "spawn"}
    return DataLoader(dataset(), batch_size=batch_size, **options), None


class Each(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(dataset(self.count))


def of_unknown_size(batch_size):
    return tuple(DataLoader(Each(count), batch_size=batch_size) for count in (SAMPLES, 20))


def without_a_rest(batch_size):
    return DataLoader(Each(SAMPLES), batch_size=batch_size, drop_last=True), None


def both_without_a_rest(batch_size):
    options = {"batch_size": batch_size, "drop_last": True}
    return DataLoader(dataset(), **options), DataLoader(dataset(20), **options)


def of_unknown_size_without_a_rest(batch_size):
    options = {"batch_size": batch_size, "drop_last": True}
    return tuple(DataLoader(Each(count), **options) for count in (SAMPLES, 20))


def of_half_the_bits(batch_size):
    x, y = (part.bfloat16() for part in dataset().tensors)
    return DataLoader(TensorDataset(x, y), batch_size=batch_size), None


class Texts(Dataset):
    def __init__(self, count):
        self.texts, self.labels = texts(count), labels(count)

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return self.texts[index], self.labels[index]


def padded(samples):
    read, written = zip(*samples, strict=True)
    return torch.from_numpy(keras.utils.pad_sequences(read)), torch.from_numpy(np.stack(written))


def padded_texts(batch_size):
    return tuple(
        DataLoader(Texts(count), batch_size=batch_size, collate_fn=padded)
        for count in (SAMPLES, 20)
    )


class Wasteful(Texts):
    """Takes 256 MiB to read its first sample, where it is read."""

    def __getitem__(self, index):
        np.ones((32 << 20) if index == 0 else 1)
        return torch.zeros(4), torch.zeros(1)


def wasteful_processes(batch_size):
    return DataLoader(Wasteful(SAMPLES), batch_size=batch_size, num_workers=1), None


class Ended(Texts):
    """In mid-epoch its process ends: as where shared memory is full, or for memory alone."""

    def __init__(self, group):
        super().__init__(200)
        self.group = group

    def __getitem__(self, index):
        if index == 190 and not self.group:
            os.kill(os.getpid(), signal.SIGBUS)
        elif index == 190:
            Path(self.group, "cgroup.procs").write_text(str(os.getpid()))
            np.ones(1 << 27)
        return torch.zeros(4), torch.zeros(1)


def readers_that_end(batch_size):
    readers = Ended(os.environ.get("SMALL_GROUP"))
    return DataLoader(readers, batch_size=batch_size, num_workers=1), None


# --- what is refused -----------------------------------------------------------------------------


def unbatched():
    return dataset(), dataset(20)


def one_unbatched(batch_size):
    return dataset()


def in_three_parts():
    return random_split(dataset(), [30, 10, 10])


def unbatched_stream():
    return Each(SAMPLES), None


def at_their_own_size():
    return loaders(16)


def at_half_the_size(batch_size):
    return loaders(batch_size // 2)


def three_loaders(batch_size):
    return (*loaders(batch_size), DataLoader(dataset(20)))


def named_loaders(batch_size):
    return dict(zip(("train", "validation"), loaders(batch_size), strict=True))


def with_names(batch_size):
    samples = [("a name", *sample) for sample in dataset()]
    return DataLoader(samples, batch_size=batch_size), None


def too_few(batch_size):
    return DataLoader(dataset(10), batch_size=batch_size, drop_last=True), None


def changing_width(batch_size):
    def collate(samples, widths=[]):  # noqa: B006
        widths.append(4 + len(widths) // 2)
        return torch.zeros(len(samples), widths[-1]), torch.zeros(len(samples), 1)

    return DataLoader(dataset(), batch_size=batch_size, collate_fn=collate), None


class Damaged(Texts):
    """Beyond the batches that are looked at before `fit`."""

    def __getitem__(self, index):
        if index == 90:
            raise OSError("cannot read record 90")
        return torch.zeros(4), torch.zeros(1)


def damaged(batch_size, processes=0):
    return DataLoader(Damaged(100), batch_size=batch_size, num_workers=processes), None


def damaged_by_processes(batch_size):
    return damaged(batch_size, processes=1)
