// Command registry is a registry of images on a port of the loopback interface, which it prints. What it gets lies in the
// new folder that its argument names.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if len(os.Args) != 2 {
		err = errors.New("which folder?")
	}
	if err == nil {
		fmt.Println(listener.Addr().(*net.TCPAddr).Port)
		quiet, blobs := log.New(io.Discard, "", 0), registry.NewDiskBlobHandler(os.Args[1])
		err = http.Serve(listener, registry.New(registry.Logger(quiet), registry.WithBlobHandler(blobs)))
	}
	fmt.Fprintln(os.Stderr, "registry:", err)
	os.Exit(1)
}
