// A client on Go's net/rpc with the MessagePack-RPC codec of ugorji/go, both used as they are.
//
// "main HOST:PORT calls|many" prints what it saw as one JSON object, which test_foreign.py judges. It must judge
// nothing itself: it is what somebody writes who has protocol.md and these two libraries.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/rpc"
	"os"
	"strconv"

	"github.com/ugorji/go/codec"
)

// Params are sent as they are; anything else that is given to net/rpc is sent as the only one of the params.
type Params = codec.MsgpackSpecRpcMultiArgs

const minuteMs = 60_000

// The codec reads the tags of encoding/json, so one set of them serves both.

type Retry struct {
	Limit   int    `json:"limit"`
	Backoff string `json:"backoff"`
}

type Job struct {
	Func     string `json:"func"`
	Name     string `json:"name"`
	Workload []byte `json:"workload,omitempty"`
	DelayMs  int64  `json:"delay_ms,omitempty"`
	Retry    *Retry `json:"retry,omitempty"`
}

// Record is a job as "get" and "list" tell it, as far as this program cares.
type Record struct {
	Func     string  `json:"func"`
	Name     string  `json:"name"`
	State    string  `json:"state"`
	DueAtMs  int64   `json:"due_at_ms"`
	Attempt  int     `json:"attempt"`
	Reason   *string `json:"reason"`
	Retry    Retry   `json:"retry"`
	Workload []byte  `json:"workload"`
}

type Page struct {
	Jobs []Record `json:"jobs"`
	Next *string  `json:"next"`
}

type Hello struct {
	Protocol int            `json:"protocol"`
	NowAtMs  int64          `json:"now_at_ms"`
	Limits   map[string]int `json:"limits"`
}

type Status struct {
	Connections int `json:"connections"`
	Functions   []struct {
		Func    string `json:"func"`
		Waiting int    `json:"waiting"`
		Running int    `json:"running"`
	} `json:"functions"`
}

type Submitted struct {
	Result string `json:"result"`
	Id     int64  `json:"id"`
}

type Batch struct {
	Results []string `json:"results"`
	Ids     []int64  `json:"ids"`
}

type Found struct {
	Result string  `json:"result"`
	Job    *Record `json:"job"`
}

type Removed struct {
	Result string `json:"result"`
}

func connect(address string) *rpc.Client {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	// Without WriteExt the codec speaks the MessagePack of before 2013: it has no bin, and sends a []byte as a str.
	handle := &codec.MsgpackHandle{WriteExt: true}
	return rpc.NewClientWithCodec(codec.MsgpackSpecRpc.ClientCodec(connection, handle))
}

func call(client *rpc.Client, method string, params Params, result interface{}) {
	if err := client.Call(method, params, result); err != nil {
		log.Fatalf("%s: %v", method, err)
	}
}

func refusal(client *rpc.Client, method string, params Params) string {
	err := client.Call(method, params, nil)
	var refused rpc.ServerError
	if !errors.As(err, &refused) {
		return fmt.Sprintf("not refused, but: %v", err)
	}
	return err.Error()
}

// calls makes a request of each kind that a client has, one after the other; refused ones among them.
func calls(client *rpc.Client) interface{} {
	var seen struct {
		Hello   Hello     `json:"hello"`
		Submit  Submitted `json:"submit"`
		Invalid string    `json:"invalid"`
		Batch   Batch     `json:"batch"`
		Unknown string    `json:"unknown"`
		Get     Found     `json:"get"`
		List    Page      `json:"list"`
		Remove  Removed   `json:"remove"`
		Absent  Found     `json:"absent"`
		Status  Status    `json:"status"`
	}
	retry := &Retry{Limit: 3, Backoff: "fixed"}
	job := Job{Func: "resize", Name: "a.jpg", Workload: []byte("\x00\xff\x80"), DelayMs: minuteMs, Retry: retry}
	other := Job{Func: "resize", Name: "b.jpg", DelayMs: minuteMs}

	call(client, "hello", Params{map[string]string{"client": "go"}}, &seen.Hello)
	call(client, "submit", Params{other}, &seen.Submit)
	seen.Invalid = refusal(client, "submit", Params{Job{Func: "resize"}})
	call(client, "submit_batch", Params{[]Job{job, other}}, &seen.Batch)
	seen.Unknown = refusal(client, "sumbit", Params{job})
	call(client, "get", Params{"resize", "a.jpg", map[string]bool{"workload": true}}, &seen.Get)
	call(client, "list", Params{map[string]string{"func": "resize"}}, &seen.List)
	call(client, "remove", Params{"resize", "a.jpg"}, &seen.Remove)
	call(client, "get", Params{"resize", "a.jpg"}, &seen.Absent)
	call(client, "status", Params{}, &seen.Status)
	return seen
}

// many submits 1,000 jobs in 1,000 requests, each from a goroutine of its own, on the one connection.
func many(client *rpc.Client) interface{} {
	answers := make(chan string)
	for number := 0; number < 1000; number++ {
		go func(name string) {
			var submitted Submitted
			call(client, "submit", Params{Job{Func: "many", Name: name, DelayMs: minuteMs}}, &submitted)
			answers <- submitted.Result
		}(strconv.Itoa(number))
	}
	var seen struct {
		Results []string `json:"results"`
		Status  Status   `json:"status"`
	}
	for len(seen.Results) < 1000 {
		seen.Results = append(seen.Results, <-answers)
	}
	call(client, "status", Params{}, &seen.Status)
	return seen
}

func main() {
	client := connect(os.Args[1])
	defer client.Close()
	scenario, ok := map[string]func(*rpc.Client) interface{}{"calls": calls, "many": many}[os.Args[2]]
	if !ok {
		log.Fatalf("there is no scenario %s", os.Args[2])
	}
	if err := json.NewEncoder(os.Stdout).Encode(scenario(client)); err != nil {
		log.Fatal(err)
	}
}
