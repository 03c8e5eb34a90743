#!/bin/sh
# Draw the site's pictures anew: sh docs/pictures.sh, in a checkout with servecast installed.
# diagnose.png needs a trace that is not in the repository; findings.md says which, and the command.
set -e
to=$(mktemp -d)
servecast run quickstart --quiet --out "$to/quickstart" && cp "$to/quickstart/overview.png" docs/quickstart.png
servecast run node-dies --quiet --out "$to/dies" && cp "$to/dies/overview.png" docs/node-dies.png
servecast run retry-storm --quiet --out "$to/storm" && cp "$to/storm/overview.png" docs/retry-storm.png
servecast run gpus-for-a-day --variant "by KV use" --quiet --out "$to/day" && cp "$to/day/overview.png" docs/gpus-for-a-day.png
for name in engines prefill-decode-split; do
    servecast compare "$name" --quiet --out "$to/$name" && cp "$to/$name/comparison.png" "docs/$name.png"
done
rm -r "$to"
