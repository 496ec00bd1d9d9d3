// Command images measures what images of a large application cost, beside what does the same elsewhere, in turns:
//
//   - pack: `winbox image pack`, and tar with gzip or zstd, `umoci insert`, `podman build` (which leaves the layer
//     uncompressed in its store) with and without `podman push` to a folder (which compresses it);
//   - unpack, of the image that winbox has packed: `winbox image unpack`, and tar, `umoci unpack`;
//   - load: `winbox image load` from an OCI layout, and `podman pull` of the same: both copy the blob and unpack it;
//   - first run of a program in an image that was packed, built or loaded just now, and a second one: `winbox launch`, and
//     `podman run` with winbox as its runtime.
//
// The application has 20,000 files of 500 MiB, of texts, machine code and media; the same on every machine. Each command is
// timed until it ends, and until what it has written is on disk, which only some of them wait for. Processor time and the
// peak of the resident set, of its largest process, are of the command and all that it runs.
//
// It needs root, Wine, mingw-w64, podman, umoci and zstd; what is missing of the last three is left out.
package main
