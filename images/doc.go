// Package images packs, moves and unpacks OCI and docker images: it makes them of folders of Windows files, opens them
// wherever they are (a layout, an archive, a registry), and adds them to a [store.Store].
//
// All that an image says is hostile. Digests are checked, what is unpacked never leaves its folder and is never larger
// than its limits; what cannot be unpacked as it is meant is refused.
//
// It knows nothing of processes and runtimes. It is for cmd/winbox-images only: what it needs (a TLS stack, among others)
// would cost every start of winbox time. Packages store, layer and request are for winbox as well.
package images
