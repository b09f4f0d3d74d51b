// Records how Go's encoding/json writes options and reads answers: `go run record.go` rewrites the two tables beside it.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"
)

type capabilities struct {
	Attach         bool `json:"attach"`
	SELinuxRelabel bool `json:"selinuxRelabel"`
	FSGroup        bool `json:"fsGroup"`
	Metrics        bool `json:"supportsMetrics"`
	Resize         bool `json:"requiresFSResize"`
}

type answer struct {
	Status       string `json:"status"`
	Message      string `json:"message"`
	Device       string `json:"device"`
	VolumeName   string `json:"volumeName"`
	Attached     bool   `json:"attached"`
	Capabilities *capabilities
	NewSize      int64 `json:"volumeNewSize"`
}

func defaults() *capabilities { return &capabilities{true, true, true, false, true} }

var answers = []string{
	``, ` `, `{}`, `null`, `true`, `1`, `"x"`, `[]`, `[{"status":"Success"}]`, "\ufeff{}", `{"status":"Success"}`,
	" \t\r\n{\"status\":\"Success\"}\n\n", `{"status":"Success"}{"status":"Success"}`, `{"status":"Success"} x`, `x {"status":"Success"}`,
	`{"status":"Success",}`, `{'status':'Success'}`, `{status:"Success"}`, `{"status":"Success"`, `{"status" : "Success" , "message" : "" }`,
	`{"Status":"Success"}`, `{"STATUS":"Success"}`, `{"\u017ftatus":"Success"}`, `{"ſtatuſ":"Success"}`, `{"status ":"Success"}`,
	`{"status":"success"}`, `{"status":"SUCCESS"}`, `{"status":"Not supported"}`, `{"status":"Not Supported"}`, `{"status":"not supported"}`,
	`{"status":"Failure","message":"no"}`, `{"status":"Failed","message":"no"}`, `{"status":""}`, `{"message":"no"}`, `{"status":"In progress"}`,
	`{"status":"Failure","status":"Success"}`, `{"status":"Success","status":"Failure"}`, `{"status":"Success","Status":"Failure"}`,
	`{"Status":"Failure","status":"Success"}`, `{"status":"Success","STATUS":null}`, `{"status":null}`, `{"status":1}`, `{"status":true}`,
	`{"status":["Success"]}`, `{"status":{"status":"Success"}}`, `{"status":"Success","status":1}`, `{"status":1,"status":"Success"}`,
	`{"status":"Success","message":1}`, `{"status":"Success","message":null}`, `{"status":"Success","device":null}`,
	`{"status":"Success","device":"/dev/x"}`, `{"status":"Success","Device":"/dev/x"}`, `{"status":"Success","device":7}`,
	`{"status":"Success","device":"a","DEVICE":"b"}`, `{"status":"Success","device":"a","device":null}`, `{"status":"Success","device":"\/dev\/x"}`,
	`{"status":"Success","attached":true}`, `{"status":"Success","attached":"true"}`, `{"status":"Success","attached":1}`,
	`{"status":"Success","attached":null}`, `{"status":"Success","attached":true,"attached":null}`, `{"status":"Success","attached":true,"attached":false}`,
	`{"status":"Success","volumeName":"v"}`, `{"status":"Success","volumename":"v"}`, `{"status":"Success","volumeName":false}`,
	`{"status":"Success","volumeNewSize":1}`, `{"status":"Success","volumeNewSize":-1}`, `{"status":"Success","volumeNewSize":-0}`,
	`{"status":"Success","volumeNewSize":1.0}`, `{"status":"Success","volumeNewSize":1e3}`, `{"status":"Success","volumeNewSize":"1"}`,
	`{"status":"Success","volumeNewSize":9223372036854775807}`, `{"status":"Success","volumeNewSize":9223372036854775808}`,
	`{"status":"Success","volumeNewSize":-9223372036854775808}`, `{"status":"Success","volumeNewSize":-9223372036854775809}`,
	`{"status":"Success","volumeNewSize":01}`, `{"status":"Success","volumeNewSize":null}`,
	`{"status":"Success","capabilities":{"attach":false}}`, `{"status":"Success","Capabilities":{"Attach":false,"FSGROUP":false}}`,
	`{"status":"Success","capabilities":{}}`, `{"status":"Success","capabilities":null}`, `{"status":"Success","capabilities":[]}`,
	`{"status":"Success","capabilities":true}`, `{"status":"Success","capabilities":{"attach":"false"}}`, `{"status":"Success","capabilities":{"attach":null}}`,
	`{"status":"Success","capabilities":{"attach":0}}`, `{"status":"Success","capabilities":{"selinuxRelabel":false,"supportsMetrics":true,"requiresFSResize":false}}`,
	`{"status":"Success","capabilities":{"selinuxrelabel":false,"SupportsMetrics":true,"requiresfsresize":false}}`,
	`{"status":"Success","capabilities":{"attach":false},"capabilities":{"fsGroup":false}}`, `{"status":"Success","capabilities":{"attach":false},"capabilities":null}`,
	`{"status":"Success","capabilities":{"attach":false,"attach":true}}`, `{"status":"Success","capabilities":{"unknown":{"attach":false}}}`,
	`{"status":"Success","capabilities":{"reQuiresF\u017fRe\u017fize":false}}`, `{"status":"Success","\u212aey":1}`,
	`{"status":"Success","extensions":7,"id":{},"bytes":"x","options":[],"code":1}`, `{"status":"Success","other":1e999}`, `{"status":"Success","other":-}`,
	`{"status":"Success","other":[1,2,{"a":[]},{}, [ ] ]}`, `{"status":"Success","other":[1,]}`, `{"status":"Success","other":[,1]}`, `{"status":"Success","other":tru}`,
	`{"status":"Success","other":1.}`, `{"status":"Success","other":.5}`, `{"status":"Success","other":+1}`, `{"status":"Success","other":1e}`, `{"status":"Success","other":0x1}`,
	`{"status":"Success","other":NaN}`, `{"status":"Success","message":"\u00e9\ud83d\ude00"}`, `{"status":"Success","message":"\ud800"}`, `{"status":"Success","message":"\ud800\u0041"}`,
	`{"status":"Success","message":"\udc00\ud800"}`, `{"status":"Success","message":"\ud800\ud83d\ude00"}`, `{"status":"Success","message":"\u12g4"}`, `{"status":"Success","message":"\x41"}`,
	`{"status":"Failure","message":"\ud800 lone"}`, "{\"status\":\"Failure\",\"message\":\"a\xffb\"}", "{\"status\":\"Failure\",\"message\":\"\xed\xa0\x80\"}",
	"{\"status\":\"Failure\",\"message\":\"\xf0\x9f\x98\"}", "{\"status\":\"Success\xff\"}", "{\"status\xff\":\"Success\"}", "{\"status\":\"Success\",\"m\xff\":1}",
	"{\"status\":\"Success\",\"message\":\"a\nb\"}", "{\"status\":\"Success\",\"message\":\"a\tb\"}", "{\"status\":\"Success\",\"message\":\"a\x00b\"}", "{\"status\":\"Success\",\"message\":\"a\x7fb\"}",
	"{\"status\":\"Success\"}\x00", "\x0c{\"status\":\"Success\"}", "{\"status\":\"Success\"}\u00a0", "-ne {\"status\":\"Success\"}", `{"status":"Success" "a":1}`, `{"status" "Success"}`, `{:1}`, `{"a":}`, `{"status":"Success"}}`,
	`{"a":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `,"status":"Success"}`,
	`{"extensions":` + strings.Repeat(`{"a":`, 300) + `1` + strings.Repeat(`}`, 300) + `,"status":"Success"}`,
	`{"status":"Success","device":"\"\\\/\b\f\n\r\t"}`,
}

var texts = []string{
	"", "plain", "with blank", `quote " and \ back`, "/slash/", "<b>&amp;</b>", "a\u2028b\u2029c", "tab\tnl\ncr\r", "\b\f\v\a", "nul\x00del\x7f", "é ü ß 漢字 😀", "\ufffd", "\u0080\u009f", "$(x) `y` ${z}", "'single'",
	"a=b,c=d", "{\"a\":1}", "\ufeffbom", "\u00a0", "\U0010ffff", "\ue000",
}

const replacements = "{}[]\",:\\u0eE-+.tfn \x00\x1f\xff"

type read struct {
	In         string        `json:"in"`
	Refused    bool          `json:"refused"`
	Status     string        `json:"status"`
	Message    string        `json:"message"`
	Device     string        `json:"device"`
	VolumeName string        `json:"volumeName"`
	Attached   bool          `json:"attached"`
	Caps       *capabilities `json:"caps"`
}

func main() {
	random := rand.New(rand.NewSource(1))
	corpus := append([]string{}, answers...)
	// Bytes dropped, doubled, swapped and replaced: what lies between right and wrong.
	for len(corpus) < len(answers)+1200 {
		base := []byte(answers[random.Intn(len(answers))])
		if len(base) == 0 || len(base) > 300 {
			continue
		}
		for n := 1 + random.Intn(3); n > 0; n-- {
			at := random.Intn(len(base))
			switch random.Intn(4) {
			case 0:
				base = append(base[:at], base[at+1:]...)
			case 1:
				base = append(base[:at+1], base[at:]...)
			case 2:
				other := random.Intn(len(base))
				base[at], base[other] = base[other], base[at]
			case 3:
				base[at] = replacements[random.Intn(len(replacements))]
			}
			if len(base) == 0 {
				break
			}
		}
		corpus = append(corpus, string(base))
	}
	out, err := os.Create("go_reads.jsonl")
	check(err)
	for _, in := range corpus {
		a := answer{Capabilities: defaults()}
		bad := json.Unmarshal([]byte(in), &a) != nil
		row := read{In: base64.StdEncoding.EncodeToString([]byte(in)), Refused: bad}
		if !bad {
			if a.Capabilities == nil {
				a.Capabilities = defaults()
			}
			row.Status, row.Message, row.Device, row.VolumeName = a.Status, a.Message, a.Device, a.VolumeName
			row.Attached, row.Caps = a.Attached, a.Capabilities
		}
		line, err := json.Marshal(row)
		check(err)
		fmt.Fprintln(out, string(line))
	}
	check(out.Close())

	out, err = os.Create("go_writes.jsonl")
	check(err)
	all := map[string]string{}
	for i, text := range texts {
		all[fmt.Sprintf("%02d", i)] = text
		all[text] = "key"
	}
	sets := []map[string]string{{}, all}
	for c := rune(0); c < 0x100; c++ {
		sets = append(sets, map[string]string{"c": string(c)})
	}
	for _, text := range texts {
		sets = append(sets, map[string]string{"v": text}, map[string]string{text: "v"})
	}
	sets = append(sets, map[string]string{"b": "1", "a": "2", "B": "3", "é": "4", "z": "5", "\ue000": "6", "😀": "7", "a/b": "8", "a.b": "9", "": "0"})
	for _, set := range sets {
		pairs := [][2]string{}
		for key, value := range set {
			pairs = append(pairs, [2]string{base64.StdEncoding.EncodeToString([]byte(key)), base64.StdEncoding.EncodeToString([]byte(value))})
		}
		sort.Slice(pairs, func(i, j int) bool { return pairs[i][0] < pairs[j][0] })
		written, err := json.Marshal(set)
		check(err)
		// Base64 on both sides, so that the table itself relies on no escape.
		line, err := json.Marshal(struct {
			Pairs   [][2]string `json:"pairs"`
			Written string      `json:"written"`
		}{pairs, base64.StdEncoding.EncodeToString(written)})
		check(err)
		fmt.Fprintln(out, string(line))
	}
	check(out.Close())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
