#!/usr/bin/env bash
# Measures this machine's GPU, fits its profile, and proves it by serving six workloads.
#
#   calibrate/on_gpu.sh FOLDER            measure, then prove
#   calibrate/on_gpu.sh FOLDER measure    BUDGET seconds (560); torch and numpy are enough; repeat it to go on measuring
#   calibrate/on_gpu.sh FOLDER prove      fit and validate; needs servecast's other libraries as well
#
# WHEELS=dir installs those libraries from wheels in that folder, for a machine without a network. DEVICE=cpu,
# BUDGET=seconds, PLAN=file and MODEL=name change what is run; PYTHON=python says with which interpreter. FOLDER receives profile, fit_report.md and validation_report.md.
set -euo pipefail
mkdir -p "${1:?usage: calibrate/on_gpu.sh FOLDER [measure|prove]}"
folder=$(cd "$1" && pwd)
what=${2:-all}
case $what in all | measure | prove) ;; *) echo "on_gpu.sh: $what is neither measure nor prove" >&2; exit 2 ;; esac
wheels=${WHEELS:+$(cd "$WHEELS" && pwd)}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

if [ "$what" != prove ]; then
    "$python" -m calibrate gpu --out "$folder" --budget "${BUDGET:-560}" ${DEVICE:+--device "$DEVICE"} ${PLAN:+--plan "$PLAN"}
fi
if [ "$what" != measure ]; then
    if [ -n "$wheels" ]; then
        site=$(mktemp -d)
        trap 'rm -rf "$site"' EXIT
        "$python" -m pip install --quiet --no-index --no-deps --target "$site" "$wheels"/*.whl
        export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
    fi
    servecast=("$python" -c 'import sys; sys.argv[0] = "servecast"; from sim.cli import main; main()' calibrate)
    "${servecast[@]}" fit "$folder"
    "${servecast[@]}" validate --profile "$folder" --out "$folder" ${DEVICE:+--device "$DEVICE"} ${MODEL:+--model "$MODEL"}
fi
