"""What the data sets read, the toolbox's and ours, by the names of their classes.

They take their block as a whole, so that no signature tells. Source: BasicSR 1.4.2, data/*.py, and
`okdnet_plugin.data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import Field

from okdnet_plugin.data.depth import KINDS, NORMS
from okdnet_plugin.data.haze_options import FIELDS, PRESETS
from okdnet_plugin.data.layouts import LAYOUTS
from okdnet_plugin.schema.keys import Keys, key
from okdnet_plugin.schema.values import (
    Count,
    File,
    Folder,
    FromZero,
    Label,
    NotNegative,
    Number,
    Positive,
    Range,
    Says,
    Share,
    Switch,
    Text,
    Whole,
)

_ANY = ('train', 'test', 'report')
_TRAIN = ('train',)
_Numbers = Annotated[list[Number], Says('a list of numbers, one for each channel')]
_PerChannel = Annotated[Number | list[Number], Says('a number, or a list with one for each channel')]
_Size = Annotated[Count | Annotated[list[Count], Len(2, 2)], Says('a number of px, or [height, width]')]
_Resize = Annotated[
    Count | Annotated[list[Count], Len(2, 2)] | dict, Says('a number of px, [height, width], or {shorter: [low, high]}')
]


def _choice(values: Mapping | tuple) -> Any:
    return Literal[tuple(values)]  # type: ignore[valid-type]


class IoBackend(Keys):
    """`io_backend`."""

    reader = 'the data set'

    type: Literal['disk', 'lmdb', 'memcached'] = key('where pictures lie: disk, or lmdb', _ANY)
    readonly: Switch = key('LMDB: open it for reading alone')
    lock: Switch = key('LMDB: lock it')
    readahead: Switch = key('LMDB: let the system read ahead')
    meminit: Switch = key('LMDB: clear memory before it is used')
    max_readers: Count = key('LMDB: processes and threads that read')
    max_spare_txns: Count = key('LMDB: transactions that are kept for later')
    map_size: Count = key('LMDB: largest size in bytes')
    server_list_cfg: Text = key('memcached: configuration of the servers')
    client_cfg: Text = key('memcached: configuration of the client')
    sys_path: Text | None = key('memcached: folder of its Python module')


class OfAny(Keys):
    """What every data set has."""

    name: Label = key('name, by which results, figures and messages go', ('train', 'test'))
    phase: Literal['train', 'val', 'test'] | None = key('what the pictures are for; the key of the block says it')
    scale: Count | None = key('size of the clear pictures / size of the others; the top of the file says it')
    io_backend: IoBackend | None = key('where pictures lie: {type: disk} or {type: lmdb}')
    on_error: Literal['raise', 'skip'] | None = key('what happens to a picture that cannot be read')


class OfTheLoader(Keys):
    """What the toolbox's loader reads of the same block, or is customary there."""

    batch_size_per_gpu: Count = key('pictures of a batch, for each process or GPU', _TRAIN)
    num_worker_per_gpu: FromZero = key('processes that read pictures', _TRAIN)
    dataset_enlarge_ratio: Positive | None = key('how often an epoch repeats the data set')
    prefetch_mode: Literal['cpu', 'cuda'] | None = key('how the next batch is fetched meanwhile: cuda, cpu or ~')
    num_prefetch_queue: Count | None = key('batches that prefetch_mode: cpu holds')
    pin_memory: Switch | None = key('page-locked memory, from which a GPU copies faster')
    persistent_workers: Switch | None = key('keep the workers from one epoch to the next')
    use_shuffle: Switch | None = key('customary; the order is shuffled in any case')


class OfATensor(Keys):
    """What becomes of the values of a picture."""

    color: Literal['rgb', 'y'] | None = key('y for the luma alone')
    mean: _PerChannel | None = key('normalisation: what is subtracted')
    std: _PerChannel | None = key('normalisation: what is divided by')


class OfATraining(Keys):
    """How pictures get a size and are turned."""

    gt_size: Count | None = key('edge in px of the random crop')
    resize: _Resize | None = key('size to which pictures are brought, before the crop if there is one')
    use_hflip: Switch | None = key('flip pictures at random')
    use_rot: Switch | None = key('turn pictures by 90 degrees at random')


# ----------------------------------------------------------------------------------------------------------------- ours


class PairedDehaze(OfAny, OfATensor, OfATraining):
    """PairedDehazeDataset."""

    dataroot_lq: Folder = key('folder or LMDB of hazy pictures', _ANY)
    dataroot_gt: Folder = key('folder or LMDB of clear pictures', _ANY)
    layout: _choice(LAYOUTS) | None = key('the public data set whose names the files have')  # type: ignore[valid-type]
    pairing: Text | None = key('regular expression of a stem, whose one group is the scene')
    filename_tmpl: Text | None = key('format string that makes the hazy stem from the clear one')
    meta_info_file: File | None = key('list of the clear pictures to be used')


class SingleDehaze(OfAny, OfATensor):
    """SingleDehazeDataset."""

    dataroot_lq: Folder = key('folder or LMDB of hazy pictures', _ANY)
    resize: _Size | None = key('size to which pictures are brought')
    recursive: Switch | None = key('look into the folders of the folder')


_Drawn = Annotated[Number | Range | dict, Says('a number, a range [low, high], or {choices: [...]}')]


class SyntheticHaze(OfAny, OfATensor, OfATraining):
    """SyntheticHazeDataset."""

    dataroot_gt: Folder = key('folder or LMDB of clear pictures', _ANY)
    meta_info_file: File | None = key('list of the clear pictures to be used')
    dataroot_depth: Folder | None = key('folder or LMDB of their depth; without it depth is made up')
    depth_kind: _choice(KINDS) | None = key('what the values of depth files are')  # type: ignore[valid-type]
    depth_norm: _choice(NORMS) | None = key('how depth is normalised by picture')  # type: ignore[valid-type]
    depth_scale: Positive | None = key('depth = value / depth_scale')
    depth_smooth: FromZero | None = key('radius in px of the filter that smooths the steps of whole numbers')
    preset: _choice(PRESETS) | None = key('beta, airlight and grid of a public data set')  # type: ignore[valid-type]
    beta: _Drawn | None = key('scattering coefficient per unit of depth')
    airlight: _Drawn | None = key('airlight, in [0, 1]')
    airlight_per_channel: Switch | None = key('draw each channel of the airlight by itself')
    grid: Switch | None = key('every clear picture with all combinations of the choices')
    field: (
        Annotated[
            _choice(FIELDS) | dict[_choice(FIELDS), NotNegative],  # type: ignore[valid-type]
            Says(f'one of {", ".join(FIELDS)}, or weights: {{homogeneous: 0.7, patchy: 0.3}}'),
        ]
        | None
    ) = key('how the haze is spread')
    fov: Annotated[Number, Field(gt=0, lt=180)] | None = key('vertical field of view in degrees, of field height')
    falloff: _Drawn | None = key('how fast the haze thins out with height, of field height')
    patchiness: _Drawn | None = key('how uneven the haze is, in [0, 1], of field patchy')
    noise: _Drawn | None = key('standard deviation of Gaussian noise, on the scale of [0, 1]')
    jpeg: _Drawn | None = key('JPEG quality from 1 to 100')
    seed: FromZero | None = key('seed of the haze in validation and test')
    return_maps: Switch | None = key('give transmission and airlight too')


class Mixed(OfAny):
    """MixedDataset; the keys of its parts come on top, as defaults for all of them."""

    parts: Annotated[dict[str, dict], Len(1)] = key('data sets that are mixed, each under a name of its own', _ANY)
    epoch_length: Count | None = key('samples of an epoch')


class OfAPart(Keys):
    """What a part of MixedDataset has beside the keys of its data set."""

    weight: Positive | None = key('share of the part; by default its number of pictures')


# -------------------------------------------------------------------------------------------------------- the toolbox's


class _Backend(OfAny):
    io_backend: IoBackend = key('where pictures lie: {type: disk} or {type: lmdb}', _ANY)


class _Scaled(_Backend):
    scale: Count = key('size of the clear pictures / size of the others; the top of the file says it', _ANY)


class _Turned(Keys):
    gt_size: Count = key('edge in px of the random crop', _TRAIN)
    use_hflip: Switch | None = key('flip pictures at random', _TRAIN)
    use_rot: Switch | None = key('turn pictures by 90 degrees at random', _TRAIN)


class _Normalised(Keys):
    color: Literal['rgb', 'y'] | None = key('y for the luma alone')
    mean: _Numbers | None = key('normalisation: what is subtracted')
    std: _Numbers | None = key('normalisation: what is divided by')


class PairedImage(_Scaled, _Turned, _Normalised):
    """PairedImageDataset."""

    dataroot_gt: Folder = key('folder or LMDB of clear pictures', _ANY)
    dataroot_lq: Folder = key('folder or LMDB of low-quality pictures', _ANY)
    meta_info_file: File | None = key('list of the pictures to be used')
    filename_tmpl: Text = key('format string that makes the low-quality stem from the clear one')


class SingleImage(_Backend, _Normalised):
    """SingleImageDataset."""

    dataroot_lq: Folder = key('folder or LMDB of pictures', _ANY)
    meta_info_file: File = key('list of the pictures to be used')


class Ffhq(_Backend):
    """FFHQDataset."""

    dataroot_gt: Folder = key('folder or LMDB of faces', _ANY)
    mean: _Numbers = key('normalisation: what is subtracted', _ANY)
    std: _Numbers = key('normalisation: what is divided by', _ANY)
    use_hflip: Switch | None = key('flip pictures at random', _ANY)


class _Sequences(_Scaled):
    dataroot_gt: Folder = key('folder or LMDB of clear sequences', _ANY)
    dataroot_lq: Folder = key('folder or LMDB of low-quality sequences', _ANY)
    meta_info_file: File = key('list of the sequences', _ANY)
    num_frame: Whole = key('frames of a sample', _ANY)
    gt_size: Count = key('edge in px of the random crop', _ANY)
    use_hflip: Switch | None = key('flip pictures at random', _ANY)
    use_rot: Switch | None = key('turn pictures by 90 degrees at random', _ANY)
    interval_list: Annotated[list[Count], Len(1)] = key('intervals between frames to draw from')
    random_reverse: Switch | None = key('turn time round at random')
    dataroot_flow: Folder | None = key('folder or LMDB of optical flow')
    test_mode: Switch | None = key('take the validation partition')


class Reds(_Sequences):
    """REDSDataset."""

    dataroot_flow: Folder | None = key('folder or LMDB of optical flow; ~ for none', _ANY)
    val_partition: Literal['REDS4', 'official'] = key('clips that are left out for the validation', _ANY)
    interval_list: Annotated[list[Count], Len(1)] = key('intervals between frames to draw from', _ANY)
    random_reverse: Switch | None = key('turn time round at random', _ANY)


class RedsRecurrent(_Sequences):
    """REDSRecurrentDataset."""

    val_partition: Literal['REDS4', 'official'] = key('clips that are left out for the validation', _ANY)
    test_mode: Switch | None = key('take the validation partition', _ANY)


class Vimeo90K(_Sequences):
    """Vimeo90KDataset."""

    random_reverse: Switch | None = key('turn time round at random', _ANY)


class Vimeo90KRecurrent(Vimeo90K):
    """Vimeo90KRecurrentDataset."""

    flip_sequence: Switch = key('add the sequence mirrored in time', _ANY)


class VideoTest(_Backend):
    """VideoTestDataset."""

    dataroot_gt: Folder = key('folder of clear sequences', _ANY)
    dataroot_lq: Folder = key('folder of low-quality sequences', _ANY)
    meta_info_file: File = key('list of the sequences; by default all')
    cache_data: Switch = key('hold all pictures in memory', _ANY)
    num_frame: Whole = key('frames of a sample', _ANY)
    padding: Literal['replicate', 'reflection', 'reflection_circle', 'circle'] = key(
        'what stands for frames before the first and after the last', _ANY
    )


class VideoTestDuf(VideoTest):
    """VideoTestDUFDataset."""

    scale: Count = key('size of the clear pictures / size of the others; the top of the file says it', _ANY)
    use_duf_downsampling: Switch = key("make the low-quality pictures by DUF's downsampling", _ANY)


class VideoRecurrentTest(VideoTest):
    """VideoRecurrentTestDataset."""

    num_frame: Whole = key('not read by recurrent networks')
    padding: Text = key('not read by recurrent networks')


class VideoTestVimeo90K(VideoTest):
    """VideoTestVimeo90KDataset."""

    meta_info_file: File = key('list of the sequences', _ANY)
    padding: Text = key('not read: each sequence has one sample')


class RealEsrGan(_Backend):
    """RealESRGANDataset."""

    dataroot_gt: Folder = key('folder or LMDB of clear pictures', _ANY)
    meta_info: File | None = key('list of the clear pictures to be used')
    blur_kernel_size: Count = key('first degradation: size of the kernel', _ANY)
    kernel_list: list[Text] = key('first degradation: kinds of kernels', _ANY)
    kernel_prob: list[Share] = key('first degradation: probability of each kind', _ANY)
    blur_sigma: Range = key('first degradation: sigma of the blur', _ANY)
    betag_range: Range = key('first degradation: beta of generalised Gaussian kernels', _ANY)
    betap_range: Range = key('first degradation: beta of plateau kernels', _ANY)
    sinc_prob: Share = key('first degradation: probability of a sinc filter', _ANY)
    blur_kernel_size2: Count = key('second degradation: size of the kernel', _ANY)
    kernel_list2: list[Text] = key('second degradation: kinds of kernels', _ANY)
    kernel_prob2: list[Share] = key('second degradation: probability of each kind', _ANY)
    blur_sigma2: Range = key('second degradation: sigma of the blur', _ANY)
    betag_range2: Range = key('second degradation: beta of generalised Gaussian kernels', _ANY)
    betap_range2: Range = key('second degradation: beta of plateau kernels', _ANY)
    sinc_prob2: Share = key('second degradation: probability of a sinc filter', _ANY)
    final_sinc_prob: Share = key('probability of a sinc filter at the end', _ANY)
    gt_size: Count | None = key('edge in px; the model reads that at the top of the file')
    use_hflip: Switch | None = key('flip pictures at random', _ANY)
    use_rot: Switch | None = key('turn pictures by 90 degrees at random', _ANY)


class RealEsrGanPaired(_Scaled, _Turned, _Normalised):
    """RealESRGANPairedDataset."""

    dataroot_gt: Folder = key('folder or LMDB of clear pictures', _ANY)
    dataroot_lq: Folder = key('folder or LMDB of low-quality pictures', _ANY)
    meta_info: File | None = key('list of the pairs')
    filename_tmpl: Text = key('format string that makes the low-quality stem from the clear one')


KEYS_OF: dict[str, type[Keys]] = {
    'PairedDehazeDataset': PairedDehaze,
    'SingleDehazeDataset': SingleDehaze,
    'SyntheticHazeDataset': SyntheticHaze,
    'MixedDataset': Mixed,
    'PairedImageDataset': PairedImage,
    'SingleImageDataset': SingleImage,
    'FFHQDataset': Ffhq,
    'REDSDataset': Reds,
    'REDSRecurrentDataset': RedsRecurrent,
    'Vimeo90KDataset': Vimeo90K,
    'Vimeo90KRecurrentDataset': Vimeo90KRecurrent,
    'VideoTestDataset': VideoTest,
    'VideoTestDUFDataset': VideoTestDuf,
    'VideoRecurrentTestDataset': VideoRecurrentTest,
    'VideoTestVimeo90KDataset': VideoTestVimeo90K,
    'RealESRGANDataset': RealEsrGan,
    'RealESRGANPairedDataset': RealEsrGanPaired,
}
