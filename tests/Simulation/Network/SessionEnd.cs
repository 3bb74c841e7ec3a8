using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Tests.Simulation.Network;

/// <summary>One end of a session: what it sends arrives at the other end, in order, later or never.</summary>
internal sealed class SessionEnd
{
    private readonly SimulatedNetwork _network;
    private readonly Queue<Frame> _wire = new();
    private readonly int _process;
    private long _lastArrival;
    private bool _isStalled;

    internal SessionEnd(SimulatedNetwork network, int id, SimulatedNode node, LatencyModel latency)
    {
        _network = network;
        Id = id;
        Node = node;
        Latency = latency;
        _process = node.Process;
        IsOpen = true;
    }

    /// <summary>Its number: no other end of this history has it.</summary>
    public int Id { get; }

    /// <summary>The host of this end.</summary>
    public SimulatedNode Node { get; }

    /// <summary>The other end.</summary>
    public SessionEnd Peer { get; internal set; } = null!;

    /// <summary>Whether this end may send and hears: until it closed, or heard of the end.</summary>
    public bool IsOpen { get; private set; }

    /// <summary>How long a message takes from here to the other end.</summary>
    public LatencyModel Latency { get; set; }

    /// <summary>Messages from here that have not arrived.</summary>
    public int UnderWayCount => _wire.Count;

    internal ISessionHandler? Handler { get; set; }

    internal bool IsReset { get; set; }

    /// <summary>Sends a message without payload.</summary>
    /// <param name="message">The message.</param>
    /// <typeparam name="T">Its type.</typeparam>
    public void Send<T>(in T message) where T : struct, IMessage<T>, allows ref struct =>
        SendRented(message, default);

    /// <summary>Sends a message with payload, which is copied.</summary>
    /// <param name="message">The message.</param>
    /// <param name="payload">Its payload.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    public void Send<T>(in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct
    {
        if (CanSend)
        {
            SendRented(message, _network.Memory.Copy(payload.Span));
        }
    }

    /// <summary>Sends a message with payload out of the world's memory, which takes it back.</summary>
    /// <param name="message">The message.</param>
    /// <param name="payload">Rented memory; no longer the sender's.</param>
    /// <typeparam name="T">Type of the message.</typeparam>
    public void SendRented<T>(in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct
    {
        if (!CanSend)
        {
            _network.Memory.Return(payload);
            return;
        }

        byte[] head = _network.EncodeHead(message, out int headBytes);
        Put(new Frame(head, headBytes, payload));
        _network.MayReset(this);
    }

    /// <summary>
    /// Closes this end: what was sent still arrives, and then the other end hears of it. This one hears
    /// nothing any more, not even of the end.
    /// </summary>
    public void Close()
    {
        if (!IsOpen)
        {
            return;
        }

        IsOpen = false;
        if (!IsReset)
        {
            Put(default);
        }
    }

    /// <summary>Its process is gone, and nobody tells the other end.</summary>
    internal void Vanish() => IsOpen = false;

    /// <summary>Only the first messages under way arrive.</summary>
    internal void Truncate(int kept)
    {
        IsReset = true;
        Frame[] frames = [.. _wire];
        _wire.Clear();
        for (int i = 0; i < frames.Length; i++)
        {
            if (i < kept && !frames[i].IsEnd)
            {
                _wire.Enqueue(frames[i]);
            }
            else
            {
                _network.Memory.Return(frames[i].Payload);
            }
        }
    }

    /// <summary>After everything under way from here the other end hears of the end.</summary>
    internal void SendEnd(long delay)
    {
        IsReset = true;
        Put(default, delay);
    }

    /// <summary>The way is free again: what was held goes on.</summary>
    internal void Resume()
    {
        if (_isStalled)
        {
            _isStalled = false;
            _lastArrival = 0;
            int count = _wire.Count;
            for (int i = 0; i < count; i++)
            {
                Schedule(0);
            }
        }
    }

    /// <summary>This end hears of the end at once, whatever is under way to it.</summary>
    internal void HearEnd()
    {
        if (IsOpen)
        {
            Node.Tell(_process, () =>
            {
                if (IsOpen)
                {
                    IsOpen = false;
                    Handler?.OnEnded(this);
                }
            });
        }
    }

    internal void HearOpened() => Node.Tell(_process, () =>
    {
        if (IsOpen)
        {
            Handler!.OnOpened(this);
        }
    });

    private bool CanSend => Peer is null
        ? throw new InvalidOperationException("the session is not open yet")
        : IsOpen && !IsReset && Node.IsRunning && Node.Process == _process;

    private void Put(Frame frame, long delay = 0)
    {
        _wire.Enqueue(frame);
        if (_isStalled || _network.IsCut(this))
        {
            Stall();
        }
        else
        {
            Schedule(delay);
        }
    }

    // A byte stream: nothing overtakes what was sent before.
    private void Schedule(long delay)
    {
        long time = _network.Clock.Now + delay + Latency.Draw(_network.Random);
        _lastArrival = Math.Max(_lastArrival, time);
        _network.Clock.At(_lastArrival, Arrive);
    }

    private void Arrive()
    {
        if (_isStalled || _wire.Count == 0)
        {
            return; // Lost, or held for now.
        }

        if (_network.IsCut(this))
        {
            Stall();
            return;
        }

        Frame frame = _wire.Dequeue();
        if (frame.IsEnd)
        {
            Peer.HearEnd();
        }
        else
        {
            Peer.Receive(frame);
        }
    }

    private void Stall()
    {
        if (!_isStalled)
        {
            _isStalled = true;
            _network.GiveUpLater(this);
        }
    }

    internal bool IsStalled => _isStalled;

    private void Receive(Frame frame)
    {
        if (!IsOpen || !Node.IsRunning || Node.Process != _process)
        {
            Drop(frame);
            return;
        }

        Node.Tell(_process, () => Hand(frame));
    }

    private void Hand(Frame frame)
    {
        if (!IsOpen)
        {
            Drop(frame);
            return;
        }

        MessageHead head = MessageParser.Parse(frame.Head.AsSpan(0, frame.HeadBytes));
        bool isWhole = head.Outcome == ParseOutcome.Complete && head.HeadBytes == frame.HeadBytes &&
            head.PayloadBytes == frame.Payload.LengthBytes;
        if (!isWhole)
        {
            throw new InvalidOperationException(
                $"{head.Kind} of {frame.HeadBytes} + {frame.Payload.LengthBytes} bytes is {head.Outcome}, " +
                $"{head.HeadBytes} + {head.PayloadBytes}: {head.Error.Reason}");
        }

        Handler!.OnMessage(this, head, frame.Payload);
        _network.ReturnHead(frame.Head);
    }

    private void Drop(Frame frame)
    {
        _network.Memory.Return(frame.Payload);
        _network.ReturnHead(frame.Head);
    }

    private readonly record struct Frame(byte[] Head, int HeadBytes, IoBuffer Payload)
    {
        public bool IsEnd => Head is null;
    }
}
