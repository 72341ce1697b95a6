package main

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// queue is one of the kernel's for packets that wait for a verdict
// (linux/netfilter/nfnetlink_queue.h, whose names these are).
type queue struct {
	connection *netlink.Conn
	number     uint16
}

// packet is the beginning of one that waits.
type packet struct {
	id      uint32
	payload []byte
}

const (
	nfqnlMsgVerdict = 1
	nfqnlMsgConfig  = 2

	nfqaPacketHdr  = 1
	nfqaVerdictHdr = 2
	nfqaPayload    = 10

	nfqaCfgCmd    = 1
	nfqaCfgParams = 2

	nfqnlCfgCmdBind = 1
	nfqnlCopyPacket = 2

	nfDrop   = 0
	nfAccept = 1

	beginning = 128 // bytes: IPv4's longest header, and the ports after it
)

func open(number uint16) (queue, error) {
	connection, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return queue{}, err
	}
	opened := queue{connection, number}
	bind := []byte{nfqnlCfgCmdBind, 0, 0, 0}
	if err := opened.ask(nfqnlMsgConfig, netlink.Acknowledge, nfqaCfgCmd, bind); err != nil {
		return queue{}, err
	}
	copied := append(binary.BigEndian.AppendUint32(nil, beginning), nfqnlCopyPacket)
	return opened, opened.ask(nfqnlMsgConfig, netlink.Acknowledge, nfqaCfgParams, copied)
}

// close ends what receive waits for; packets pass by a queue that nobody reads.
func (q queue) close() {
	_ = q.connection.Close()
}

func (q queue) receive() ([]packet, error) {
	messages, err := q.connection.Receive()
	if err != nil {
		return nil, err
	}
	var packets []packet
	for _, message := range messages {
		attributes, err := netlink.UnmarshalAttributes(message.Data[4:])
		if err != nil {
			return nil, err
		}
		var received packet
		for _, attribute := range attributes {
			switch attribute.Type {
			case nfqaPacketHdr:
				received.id = binary.BigEndian.Uint32(attribute.Data)
			case nfqaPayload:
				received.payload = attribute.Data
			}
		}
		packets = append(packets, received)
	}
	return packets, nil
}

func (q queue) judge(judged packet, allowed bool) error {
	verdict := uint32(nfDrop)
	if allowed {
		verdict = nfAccept
	}
	header := binary.BigEndian.AppendUint32(nil, verdict)
	header = binary.BigEndian.AppendUint32(header, judged.id)
	return q.ask(nfqnlMsgVerdict, 0, nfqaVerdictHdr, header)
}

// ask sends one attribute, after the header that all of netfilter's messages have.
func (q queue) ask(kind uint16, flags netlink.HeaderFlags, attribute uint16, value []byte) error {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: attribute, Data: value}})
	if err != nil {
		return err
	}
	generic := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(q.number >> 8), byte(q.number)}
	message := netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_QUEUE<<8 | kind),
			Flags: netlink.Request | flags,
		},
		Data: append(generic, data...),
	}
	if flags&netlink.Acknowledge != 0 {
		_, err = q.connection.Execute(message)
	} else {
		_, err = q.connection.Send(message)
	}
	return err
}
