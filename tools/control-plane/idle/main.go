// What the pods of a test run: nothing, for as long as they are let.
package main

import "time"

func main() { time.Sleep(1<<63 - 1) }
