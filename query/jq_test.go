package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pair is the same question twice. In jq, a string is put beside a number only where the log has them so.
type pair struct{ where, jq string }

// jqPairs are questions to logs of JSON, by the names of the logs. An expression of jq that fails, or gives nothing, is false.
var jqPairs = map[string][]pair{
	"github_events_json": {
		{`type=PushEvent`, `.type=="PushEvent"`},
		{`type="PushEvent" AND payload.size>1`, `.type=="PushEvent" and (.payload.size|type)=="number" and .payload.size>1`},
		{`type!=PushEvent`, `.type!="PushEvent"`},
		{`type!=PushEvent type!=CreateEvent !(type=WatchEvent or type=IssuesEvent)`, `.type!="PushEvent" and .type!="CreateEvent" and .type!="WatchEvent" and .type!="IssuesEvent"`},
		{`payload.action=opened`, `.payload.action=="opened"`},
		{`payload.action!=opened`, `.payload.action!="opened"`},
		{`exists(payload.pull_request)`, `.payload|has("pull_request")`},
		{`exists(org) AND NOT exists(payload.ref)`, `has("org") and (.payload|has("ref")|not)`},
		{`payload.pull_request.merged=true`, `.payload.pull_request.merged==true`},
		{`payload.pull_request.merged=false payload.pull_request.commits>=3`, `.payload.pull_request.merged==false and .payload.pull_request.commits>=3`},
		{`payload.pull_request.head.repo.language=JavaScript`, `.payload.pull_request.head.repo.language=="JavaScript"`},
		{`payload.pull_request.head.repo.language=null`, `.payload.pull_request.head.repo|has("language") and .language==null`},
		{`payload.commits[].author.name=~/^[A-Z]/`, `any(.payload.commits[]?; .author.name|test("^[A-Z]"))`},
		{`payload.commits[].distinct=false`, `any(.payload.commits[]; .distinct==false)`},
		{`payload.commits[0].message=~/fix/i`, `.payload.commits[0].message|test("fix";"i")`},
		{`exists(payload.commits[1])`, `.payload.commits|length>1`},
		{`payload.commits[].message!~/./`, `any(.payload.commits[]?; .message|test("."))|not`},
		{`contains(payload.commits[].message, "\n\n")`, `any(.payload.commits[]; .message|contains("\n\n"))`},
		{`contains(repo.name, "/dot")`, `.repo.name|contains("/dot")`},
		{`repo.name=~/^[a-d].*\/.*[0-9]$/`, `.repo.name|test("^[a-d].*/.*[0-9]$")`},
		{`actor.id<100000 or actor.id>=9999999`, `.actor.id<100000 or .actor.id>=9999999`},
		{`actor.login>="x" actor.login<"y"`, `.actor.login>="x" and .actor.login<"y"`},
		{`created_at>"2015-01-01T00:30" created_at<"2015-01-01T00:31"`, `.created_at>"2015-01-01T00:30" and .created_at<"2015-01-01T00:31"`},
		{`payload.issue.labels[].name=bug`, `any(.payload.issue.labels[]; .name=="bug")`},
		{`payload.issue.comments=0 and payload.issue.state=open`, `.payload.issue.comments==0 and .payload.issue.state=="open"`},
		{`payload.comment.body=~/\bthanks?\b/i`, `.payload.comment.body|test("\\bthanks?\\b";"i")`},
		{`payload.description=""`, `.payload.description==""`},
		{`public=true actor.gravatar_id!=""`, `.public==true and .actor.gravatar_id!=""`},
		{`payload.forkee.description=~/[^\x00-\x7f]/`, `.payload.forkee.description|test("[^\\x00-\\x7f]")`},
	},
	"aws_cloudtrail_json": {
		{`errorCode=AccessDenied`, `.errorCode=="AccessDenied"`},
		{`exists(errorCode) AND NOT errorCode=~/^Client\./`, `has("errorCode") and (.errorCode|test("^Client\\.")|not)`},
		{`errorCode!=AccessDenied eventName=~/^(Get|List)/`, `.errorCode!="AccessDenied" and (.eventName|test("^(Get|List)"))`},
		{`userIdentity.type=IAMUser`, `.userIdentity.type=="IAMUser"`},
		{`userIdentity.sessionContext.attributes.mfaAuthenticated="true"`, `.userIdentity.sessionContext.attributes.mfaAuthenticated=="true"`},
		{`responseElements=null`, `has("responseElements") and .responseElements==null`},
		{`responseElements!=null`, `(has("responseElements") and .responseElements==null)|not`},
		{`readOnly=false managementEvent=true`, `.readOnly==false and .managementEvent==true`},
		{`additionalEventData.bytesTransferredOut>300`, `(.additionalEventData.bytesTransferredOut|type)=="number" and .additionalEventData.bytesTransferredOut>300`},
		{`eventSource="s3.amazonaws.com" OR eventSource="kms.amazonaws.com"`, `.eventSource=="s3.amazonaws.com" or .eventSource=="kms.amazonaws.com"`},
		{`sourceIPAddress=~/^[0-9.]+$/`, `.sourceIPAddress|test("^[0-9.]+$")`},
		{`sourceIPAddress="AWS Internal" !exists(userIdentity.userName)`, `.sourceIPAddress=="AWS Internal" and (.userIdentity|has("userName")|not)`},
		{`additionalEventData.x-amz-id-2=~/==$/`, `.additionalEventData["x-amz-id-2"]|test("==$")`},
		{`resources[].type="AWS::KMS::Key"`, `any(.resources[]; .type=="AWS::KMS::Key")`},
		{`eventTime>="2023-07-10T12" and eventTime<"2023-07-10T13"`, `.eventTime>="2023-07-10T12" and .eventTime<"2023-07-10T13"`},
		{`contains(userAgent, "boto3/")`, `.userAgent|contains("boto3/")`},
	},
	"windows_events_json": {
		{`EventID=4658`, `.EventID==4658`},
		{`EventID>=4656 EventID<=4690 Channel=Security`, `(.EventID|type)=="number" and .EventID>=4656 and .EventID<=4690 and .Channel=="Security"`},
		{`EventID!=10`, `.EventID!=10`},
		{`Keywords=-9223372036854775808`, `.Keywords==-9223372036854775808`},
		{`Keywords>0`, `(.Keywords|type)=="number" and .Keywords>0`},
		{`Image="C:\\Windows\\System32\\svchost.exe"`, `.Image=="C:\\Windows\\System32\\svchost.exe"`},
		{`Image=~/\\powershell\.exe$/i`, `.Image|test("\\\\powershell\\.exe$";"i")`},
		{`contains(TargetObject, "\\CurrentVersion\\Run")`, `.TargetObject|contains("\\CurrentVersion\\Run")`},
		{`contains(Message, "\r\nRuleName: -\r\n") Severity=INFO`, `(.Message|contains("\r\nRuleName: -\r\n")) and .Severity=="INFO"`},
		{`tags[]=mordorDataset`, `any(.tags[]; .=="mordorDataset")`},
		{`@version=1 ProcessId<1000`, `.["@version"]=="1" and (.ProcessId|test("^[0-9]+$")) and (.ProcessId|tonumber)<1000`},
		{`exists(DestinationPort) !(DestinationPort=443 or DestinationPort=80)`, `has("DestinationPort") and .DestinationPort!="443" and .DestinationPort!="80" and .DestinationPort!=443 and .DestinationPort!=80`},
		{`AccountType!=User`, `.AccountType!="User"`},
		{`CommandLine=~/-enc|hidden/i or ParentImage=~/winword/i`, `((try(.CommandLine|test("-enc|hidden";"i")) catch false)) or ((try(.ParentImage|test("winword";"i")) catch false))`},
		{`port>62000`, `(.port|type)=="number" and .port>62000`},
		{`SourceName="Microsoft-Windows-Sysmon" Task=13`, `.SourceName=="Microsoft-Windows-Sysmon" and .Task==13`},
	},
}

// wantJQ skips what needs jq and real logs of JSON.
func wantJQ(tb testing.TB) (folder string) {
	tb.Helper()
	folder = os.Getenv("CORPORA")
	if folder == "" {
		tb.Skip("set CORPORA to a folder of github_events_json.log, aws_cloudtrail_json.log and windows_events_json.log to compare with jq; TestOracleWhere compares with what is known of generated records")
	}
	if _, err := exec.LookPath("jq"); err != nil {
		tb.Skip("install jq to compare with it")
	}
	return folder
}

// Of real logs, expressions select the records that jq selects.
func TestWhereEqualsJQ(t *testing.T) {
	folder := wantJQ(t)
	n := 0
	for name, pairs := range jqPairs {
		n += len(pairs)
		t.Run(name, func(t *testing.T) {
			bucket, texts := corpusOf(t, []string{filepath.Join(folder, name+".log")}, 10<<20)
			lines := bytes.Split(bytes.TrimSuffix(texts[0], []byte("\n")), []byte("\n"))
			said := askJQ(t, pairs, texts[0])
			if len(said) != len(lines) {
				t.Fatalf("jq answers for %d of %d lines", len(said), len(lines))
			}
			e := newEngine(t, Config{Bucket: bucket})
			some := 0
			for i, p := range pairs {
				var want [][]byte
				for k, line := range lines {
					if said[k] != nil && said[k][i] {
						want = append(want, line)
					}
				}
				for _, brute := range []bool{false, true} {
					var have [][]byte
					q := Query{Topic: "bench", Range: everything(), Where: parseWhere(t, p.where), Brute: brute}
					ans, err := e.Run(t.Context(), q, func(r Record) error {
						have = append(have, bytes.Clone(r.Text))
						return nil
					})
					if err != nil || ans.Partial() {
						t.Fatal(err, ans.Problems)
					}
					if !slices.EqualFunc(want, have, bytes.Equal) {
						t.Errorf("%s: %d records, jq finds %d (%s), first difference: %s", p.where, len(have), len(want), p.jq, firstDifference(want, have))
					}
				}
				if len(want) > 0 && len(want) < len(lines) {
					some++
				}
			}
			if some < len(pairs)*2/3 {
				t.Errorf("%d of %d questions select some of the records: the others tell nothing", some, len(pairs))
			}
			t.Logf("%d questions to %d records, %d of them select some", len(pairs), len(lines), some)
		})
	}
	if n < 50 {
		t.Errorf("%d questions", n)
	}
}

func firstDifference(want, have [][]byte) string {
	for i := range max(len(want), len(have)) {
		switch {
		case i >= len(have):
			return fmt.Sprintf("lacks %.300s", want[i])
		case i >= len(want) || !bytes.Equal(want[i], have[i]):
			return fmt.Sprintf("has %.300s", have[i])
		}
	}
	return "none"
}

// askJQ asks all questions of each line at once. A line that is no JSON has no answers.
func askJQ(t *testing.T, pairs []pair, text []byte) (said [][]bool) {
	t.Helper()
	var filter strings.Builder
	filter.WriteString("(try fromjson catch null)|if type==\"object\" then [")
	for i, p := range pairs {
		if i > 0 {
			filter.WriteString(",")
		}
		fmt.Fprintf(&filter, "(([(%s)?]|any) // false)", p.jq)
	}
	filter.WriteString("] else null end")
	cmd := exec.CommandContext(t.Context(), "jq", "-R", "-c", filter.String())
	cmd.Stdin = bytes.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("jq: %v: %s", err, stderr.Bytes())
	}
	for line := range bytes.Lines(out) {
		var answers []bool
		if err := json.Unmarshal(line, &answers); err != nil {
			t.Fatal(err)
		}
		said = append(said, answers)
	}
	return said
}
