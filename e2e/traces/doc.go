// Package traces holds the real measurements that the lab replays, embedded so
// that nothing is fetched at run time, with typed loaders. README.md names the
// source, licence and processing of each file.
//
// It promises values as published: it does not scale, smooth or fill. A row it
// cannot read is an error that names the file and the line, never a skipped row.
package traces

import "embed"

//go:embed data/*/*.csv
var files embed.FS
