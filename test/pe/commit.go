//go:build ignore

// Allocates 1 MiB at a time, and prints how many it has.
package main

import "fmt"

func main() {
	var all [][]byte
	for range 400 {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
		fmt.Println(len(all))
	}
}
