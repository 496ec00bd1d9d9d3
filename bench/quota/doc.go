// Command quota measures what counting commits costs programs that allocate a lot: the same program with a commit limit,
// and with the counting switched off (--commit off), in turns. Compared is the processor time of its process.
package main
