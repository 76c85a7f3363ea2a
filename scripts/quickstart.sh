#!/usr/bin/env bash
# Everything from nothing: the environment, demo pairs, a short training with `basicsr train`, its test with
# `basicsr test`, and what came of it. Writes datasets/demo, experiments/ and results/ in the repository.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment
cd "$root"
SECONDS=0

# Threads that wait for others shall not spin: on two busy cores that would make training several times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

say '1/5 hazy/clear pairs: training and held-out scenes of different photographs'
python scripts/make_demo_pairs.py datasets/demo

say '2/5 training: basicsr train -opt options/okdnet_quickstart.yml'
basicsr train -opt options/okdnet_quickstart.yml

say '3/5 test: basicsr test -opt options/okdnet_quickstart_test.yml'
basicsr test -opt options/okdnet_quickstart_test.yml

say '4/5 result on the held-out images'
python scripts/show_result.py options/okdnet_quickstart_test.yml

say '5/5 one of them by the weights that come with the package: hazy | result in results/quickstart'
basicsr dehaze -i datasets/demo/val/hazy/50_1_0.95245.png -o results/quickstart --compare --overwrite

say "done in $((SECONDS / 60)) min $((SECONDS % 60)) s, without the installation"
