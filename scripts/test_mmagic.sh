#!/usr/bin/env bash
# OKDNet through MMagic 1.2.0: an environment of its own, training, validation, going on, test, two processes, with
# MMagic's registries and its own tools, and MMagic's NAFNet on the plugin's data. About ten minutes and 6 GB; not part of
# the suite, as MMagic 1.2.0 needs packages of 2023.
#   bash scripts/test_mmagic.sh [ENVIRONMENT]      (default: .venv-mmagic)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -m "${1:-$root/.venv-mmagic}")
python=$venv/bin/python
say() { printf '\n== %s\n' "$*"; }

if [[ ! -f $venv/.made ]]; then
  say "environment: $venv"
  "${PYTHON:-python3}" -m venv "$venv"
  pip=("$python" -m pip --disable-pip-version-check install --quiet)
  # NumPy 1: MMagic's own tools import MMagic before the config, and with it np.bool8. mmcv-lite: no compiler is needed.
  "${pip[@]}" 'setuptools<81' wheel cython
  "${pip[@]}" torch==2.11.0 torchvision==0.26.0 'numpy<2' 'opencv-python<4.12' 'pandas<3' mmengine==0.10.7 mmcv-lite==2.1.0 \
    scipy scikit-image scikit-learn imageio click requests tqdm einops lpips resize-right \
    diffusers==0.24.0 transformers==4.36.2 'huggingface_hub<0.26'
  "${pip[@]}" --no-deps albumentations==1.3.1 qudida==0.0.4 mmagic==1.2.0
  "${pip[@]}" --no-build-isolation 'numpy<2' 'opencv-python<4.12' basicsr==1.4.2
  "${pip[@]}" --no-build-isolation 'numpy<2' 'opencv-python<4.12' --editable "$root"
  touch "$venv/.made"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= PYTHONWARNINGS=ignore
tools=$("$python" -c 'import importlib.util as u; print(u.find_spec("mmagic").submodule_search_locations[0])')/.mim/tools

say 'images'
"$python" "$root/scripts/make_demo_pairs.py" datasets/demo
"$python" - <<'PY'
# Two held-out pairs, and the same with equal names, as MMagic's BasicImageDataset wants them.
import shutil
from pathlib import Path
hazy = sorted(Path('datasets/demo/val/hazy').iterdir())[:2]
for folder in ('datasets/held', 'datasets/equal_names'):
    for side in ('hazy', 'clear'):
        Path(folder, side).mkdir(parents=True)
for image in hazy:
    clear = next(Path('datasets/demo/val/clear').glob(f'{image.name.split("_")[0]}.*'))
    shutil.copy(image, 'datasets/held/hazy')
    shutil.copy(clear, 'datasets/held/clear')
    shutil.copy(image, 'datasets/equal_names/hazy')
    shutil.copy(clear, Path('datasets/equal_names/clear', image.name))
PY

say 'no name of the plugin is one of MMagic'
"$python" - <<'PY'
import okdnet_plugin.mm
import mmagic.models, mmagic.datasets, mmagic.evaluation, mmagic.engine
from mmagic import registry as theirs
from mmengine import registry as root
for kind in ('MODELS', 'DATASETS', 'TRANSFORMS', 'METRICS', 'HOOKS'):
    ours = {n for n, c in getattr(root, kind).module_dict.items()
            if c.__module__.startswith('okdnet_plugin') or n.startswith('BasicSR')}
    clash = ours & set(getattr(theirs, kind).module_dict)
    print(f'{kind}: {len(ours)} names, {len(clash)} clashes')
    assert not clash, clash
PY

say_end() { grep -E 'Iter\((train|val|test)\)' "$1" | grep -E 'loss|psnr|PSNR' | tail -"${2:-2}" | sed 's/.*INFO - //'; }

for config in okdnet_as_generator nafnet_on_our_data okdnet_restorer; do
  file=$root/tests/mmagic/$config.py
  say "$config: mmagic/.mim/tools/train.py, four of eight iterations, then --resume to the end"
  "$python" "$tools/train.py" "$file" --work-dir "$config" --cfg-options train_cfg.max_iters=4 >"$config.1.log" 2>&1 || { tail -30 "$config.1.log"; exit 1; }
  "$python" "$tools/train.py" "$file" --work-dir "$config" --resume >"$config.2.log" 2>&1 || { tail -30 "$config.2.log"; exit 1; }
  grep -q 'resumed epoch: 0, iter: 4' "$config.2.log"
  say_end "$config.2.log"
  say "$config: mmagic/.mim/tools/test.py"
  "$python" "$tools/test.py" "$file" "$config/iter_8.pth" --work-dir "$config.test" >"$config.3.log" 2>&1 || { tail -30 "$config.3.log"; exit 1; }
  say_end "$config.3.log" 1
done

say 'okdnet_restorer: two processes, gloo, mmagic/.mim/tools/train.py --launcher pytorch'
"$python" -m torch.distributed.run --nproc_per_node=2 --rdzv_backend=c10d --rdzv_endpoint=localhost:0 "$tools/train.py" \
  "$root/tests/mmagic/okdnet_restorer.py" --work-dir two --launcher pytorch >two.log 2>&1 || { tail -30 two.log; exit 1; }
say_end two.log

say 'the checkpoint of MMagic in BasicSR: python -m okdnet_plugin.mm convert, basicsr test'
"$python" -m okdnet_plugin.mm convert okdnet_restorer/iter_8.pth net_g.pth
cat >test.yml <<'YML'
name: from_mmagic
model_type: OKDNetModel
scale: 1
num_gpu: 0
manual_seed: 0
datasets:
  test: {name: held, type: PairedDehazeDataset, dataroot_lq: datasets/held/hazy, dataroot_gt: datasets/held/clear, layout: its, io_backend: {type: disk}}
network_g: {type: OKDNet, num_feat: 8, num_blocks: [1, 1, 1]}
path: {pretrain_network_g: net_g.pth, param_key_g: params_ema, strict_load_g: true}
val: {save_img: false, metrics: {psnr: {type: calculate_psnr, crop_border: 0}}}
YML
"$python" -m okdnet_plugin test -opt test.yml 2>&1 | grep -E '# psnr'
say 'all of it works'
