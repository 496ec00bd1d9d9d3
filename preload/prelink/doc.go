// Package prelink rewrites the libraries of an application so that no loader has
// to change them: each gets a base of its own, and sections that can be mapped
// from the file. Their pages then belong to the page cache, one copy for all
// containers, instead of to each process.
//
// Assign decides on the bases, package pe rewrites an image, Folder does it for
// a folder. Nothing here knows a program's imports: any library of the folder
// may be loaded beside any other of the same machine.
//
// Traps: the folder is hostile. Everything in it is reached through an os.Root,
// symbolic links are left alone, and a file that is not what it was when the
// folder was read is not replaced. A file is replaced as a whole or not at all.
package prelink
