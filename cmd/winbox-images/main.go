// Winbox-images unpacks images for winbox, which runs it: `winbox runtime install`. It is a program of its own because
// what talks to registries would cost every start of winbox time.
//
//	winbox-images unpack IMAGE DIR
//
// unpacks the image of an OCI layout, an archive or a registry into the new folder DIR, writes lines "DONE TOTAL" while it
// does, and at last the image's labels as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"winbox/images"
	"winbox/images/layer"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) != 3 || args[0] != "unpack" {
		fmt.Fprintln(stderr, "usage: winbox-images unpack IMAGE DIR (winbox runtime install runs it)")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	labels, err := images.Unpack(ctx, args[1], args[2], layer.DefaultLimits, func(done, total int) {
		fmt.Fprintf(stdout, "%d %d\n", done, total)
	})
	if err == nil {
		if labels == nil {
			labels = map[string]string{}
		}
		err = json.NewEncoder(stdout).Encode(labels)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}
