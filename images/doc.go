// Package images is empty today. It will hold what winbox does with OCI images:
// packing a folder of Windows files into one, storing and unpacking layers, and
// pulling from and pushing to registries.
//
// A packed application will be an image from scratch, without Wine in it; the
// Wine that runs it will be an image of its own.
//
// It will know nothing of processes: what it hands over is a directory and the
// image's configuration, of which others make a bundle and a container.
package images
