// Package store keeps images in the folder `images` of a data root, so that containers can be made of them.
//
//	oci-layout, index.json   the store is an OCI image layout: other tools can read it
//	blobs/sha256/HEX         manifests, configurations and layers, as they came
//	layers/HEX               a layer unpacked, by its diff ID: a layer of an overlay, shared by all images that have it
//	ingest/                  what is being made; it counts for nothing
//	mnt/                     empty: see [Store.MountPoint]
//
// Everything gets its final name by a rename, when it is complete and its digest has been checked: what a killed process
// leaves is in ingest, where the next command removes it, but for half a download, which is gone on with. Whoever adds to
// the store or makes a container of it has a [Hold], and nothing is removed meanwhile. An image that a container uses
// stays, whatever its names: the container's folder says so ([Store.Use]).
//
// It is linked into winbox, whose every start would pay for more: what needs registries is in package images.
package store
