package ingest

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"oklog/ingest/stream"
	"oklog/objstore/segment"
)

// batchOverhead is what a held batch is taken to need beside its body, in bytes: an estimate that errs high.
const batchOverhead = 4 << 10

// perRecord is what a record takes in memory at most beside its text: a run of its own.
const perRecord = 24

// batch is a message that was opened, and is held until it is acked.
type batch struct {
	msg     *stream.Message
	seg     *segment.Segment
	text    int64 // bytes, decoded
	decoded int64 // bytes that its blocks take in memory at most, decoded
	weight  int64 // bytes held for it
	arrived time.Time
	held    bool                      // there is memory for it
	damage  error                     // found when it was decoded
	renewed atomic.Pointer[time.Time] // when the server was last told that it is in hand
}

// open reads what stands behind a batch's blocks. The error is about the batch, and repeating does not help.
func open(d *segment.Decoder, m *stream.Message, now time.Time) (*batch, error) {
	if err := segment.CheckTopic(m.Topic); err != nil {
		return nil, err
	}
	seg, err := d.Open(bytes.NewReader(m.Body), int64(len(m.Body)))
	if err != nil {
		return nil, fmt.Errorf("open batch: %w", err)
	}
	b := &batch{msg: m, seg: seg, weight: int64(len(m.Body)) + seg.Memory() + batchOverhead, arrived: now}
	b.renewed.Store(&now)
	for _, i := range seg.Blocks {
		b.text += int64(i.RawSize)
		b.decoded += int64(i.RawSize) + perRecord*int64(i.Records)
	}
	return b, nil
}

// load is the batches of one topic that are to be flushed together.
type load struct {
	topic   string
	batches []*batch
	text    int64 // bytes, decoded
	weight  int64
	oldest  time.Time // arrival
}

// collector gathers batches by topic, and tells when a topic is due. It does nothing by itself and
// asks no clock.
type collector struct {
	topics    map[string]*load
	flushSize int64
	flushAge  time.Duration
}

func newCollector(flushSize int64, flushAge time.Duration) *collector {
	return &collector{topics: map[string]*load{}, flushSize: flushSize, flushAge: flushAge}
}

// add takes a batch in. If the topic's size is reached it returns what is to be flushed now.
func (c *collector) add(b *batch) *load {
	l := c.topics[b.msg.Topic]
	if l != nil && l.text+b.text > c.flushSize {
		// The new batch would take the segment over its size: it begins the next one.
		delete(c.topics, b.msg.Topic)
		c.put(b)
		return l
	}
	if l := c.put(b); l.text >= c.flushSize {
		delete(c.topics, l.topic)
		return l
	}
	return nil
}

func (c *collector) put(b *batch) *load {
	l := c.topics[b.msg.Topic]
	if l == nil {
		l = &load{topic: b.msg.Topic, oldest: b.arrived}
		c.topics[l.topic] = l
	}
	l.batches = append(l.batches, b)
	l.text += b.text
	l.weight += b.weight
	return l
}

// due takes out what has waited for flushAge.
func (c *collector) due(now time.Time) (loads []*load) {
	for topic, l := range c.topics {
		if now.Sub(l.oldest) >= c.flushAge {
			delete(c.topics, topic)
			loads = append(loads, l)
		}
	}
	return loads
}

// heaviest takes out the topics that hold the most, until they hold at least want bytes together or nothing is left.
func (c *collector) heaviest(want int64) (loads []*load) {
	for want > 0 && len(c.topics) > 0 {
		var top *load
		for _, l := range c.topics {
			if top == nil || l.weight > top.weight {
				top = l
			}
		}
		delete(c.topics, top.topic)
		want -= top.weight
		loads = append(loads, top)
	}
	return loads
}

// all takes everything out.
func (c *collector) all() []*load { return c.heaviest(1<<63 - 1) }
