using System.Net.Sockets;
using Microsoft.AspNetCore.Connections;
using Ublk.Uring;

namespace Ublk.Wire.Transport;

/// <summary>
/// What the connections of one loop share: the provided buffers they receive into, blocks for what they
/// send, and their number. Made, used and disposed on the loop's thread.
/// </summary>
public sealed class RingTransport : IDisposable
{
    /// <summary>Operations a connection has in flight at most: one receive and one send.</summary>
    public const int OperationsPerConnection = 2;

    private readonly ProvidedBuffers _buffers;
    private readonly HashSet<ITransportMember> _members = [];
    private readonly Stack<ReceiveSegment> _segments = new();
    private readonly Stack<GatherList> _lists = new();
    private readonly TaskCompletionSource _stopped =
        new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _isStopped;
    private bool _isDisposed;

    /// <summary>Registers the buffers.</summary>
    /// <param name="loop">The loop, on its thread.</param>
    /// <param name="options">Limits.</param>
    /// <exception cref="Ublk.Uring.Native.SystemCallException">The kernel refuses the buffers.</exception>
    public RingTransport(Loop loop, RingTransportOptions options)
    {
        loop.AssertOwner();
        if (!options.IsSound)
        {
            throw new ArgumentException($"limits out of their range: {options}", nameof(options));
        }

        Loop = loop;
        Options = options;
        _buffers = new ProvidedBuffers(
            loop.Ring, options.BufferGroup, options.BufferCount, options.BufferBytes);
    }

    /// <summary>The loop.</summary>
    public Loop Loop { get; }

    /// <summary>The limits it was made with.</summary>
    public RingTransportOptions Options { get; }

    /// <summary>Connections that have a descriptor, and those being made.</summary>
    public int ConnectionCount => _members.Count;

    /// <summary>Provided buffers that the kernel has not.</summary>
    public int HeldBufferCount { get; private set; }

    /// <summary>Receives that went into blocks because no provided buffer was left.</summary>
    public long StarvedReceiveCount { get; internal set; }

    internal BlockPool Blocks { get; } = new();

    /// <summary>
    /// Takes a connected socket over, and closes it in the end, or at once when it is refused. The caller
    /// uses it no more. Its options stay as they are (a TCP socket should have NoDelay). On the loop's
    /// thread.
    /// </summary>
    /// <param name="socket">TCP or unix stream socket.</param>
    /// <exception cref="LoopFullException">The loop or the transport has no room for it.</exception>
    /// <exception cref="ObjectDisposedException">The transport was stopped.</exception>
    public RingConnection Attach(Socket socket) => Attach(socket, listener: null);

    /// <summary>
    /// Aborts all connections and takes no new ones; completes when the kernel has nothing of them any more.
    /// From any thread; the continuation runs on the thread pool.
    /// </summary>
    public async Task StopAsync()
    {
        Task stopped = await Loop.InvokeAsync(Stop).ConfigureAwait(false);
        await stopped.ConfigureAwait(false);
    }

    /// <summary>Frees the memory.</summary>
    /// <exception cref="InvalidOperationException">
    /// Connections are left, and the kernel may still write to it: stop first.
    /// </exception>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        Loop.AssertOwner();
        if (_members.Count > 0)
        {
            throw new InvalidOperationException($"{_members.Count} connections are left; stop them first");
        }

        _isStopped = true;
        _isDisposed = true;
        _buffers.Dispose();
        Blocks.Dispose();
        while (_lists.TryPop(out GatherList? list))
        {
            list.Dispose();
        }
    }

    internal RingConnection Attach(Socket socket, RingConnectionListener? listener)
    {
        try
        {
            Loop.AssertOwner();
            SocketMode.MakeBlocking(socket.SafeHandle);
            var connection = new RingConnection(this, socket, listener);
            Join(connection);
            connection.Start();
            return connection;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    internal void Join(ITransportMember member)
    {
        Loop.AssertOwner();
        ObjectDisposedException.ThrowIf(_isStopped, this);
        if (_members.Count >= Options.MaxConnections)
        {
            throw new LoopFullException(
                $"loop {Loop.Options.Name} has {_members.Count} connections, the most it may have");
        }

        Loop.Reserve(OperationsPerConnection);
        _members.Add(member);
    }

    internal void Leave(ITransportMember member)
    {
        _members.Remove(member);
        Loop.Unreserve(OperationsPerConnection);
        if (_isStopped && _members.Count == 0)
        {
            _stopped.TrySetResult();
        }
    }

    /// <summary>Whether the kernel may still have provided buffers, as far as we have heard.</summary>
    internal bool HasFreeBuffers => HeldBufferCount < Options.BufferCount;

    internal ReadOnlyMemory<byte> TakeBuffer(ushort id, int lengthBytes)
    {
        HeldBufferCount++;
        return _buffers.Memory(id, lengthBytes);
    }

    internal void ReturnBuffer(ushort id)
    {
        HeldBufferCount--;
        if (!_isDisposed)
        {
            _buffers.Return(id);
        }
    }

    internal ushort BufferGroup => _buffers.Group;

    internal ReceiveSegment RentSegment() =>
        _segments.TryPop(out ReceiveSegment? segment) ? segment : new ReceiveSegment();

    // A few for each buffer that a reader may hold; what is over is left to the collector.
    internal void ReturnSegment(ReceiveSegment segment)
    {
        if (_segments.Count < 2 * Options.BufferCount)
        {
            _segments.Push(segment);
        }
    }

    internal GatherList RentList() => _lists.TryPop(out GatherList? list) ? list : new GatherList();

    internal void ReturnList(GatherList list)
    {
        list.Clear();
        _lists.Push(list);
    }

    private Task Stop()
    {
        _isStopped = true;
        var members = new ITransportMember[_members.Count];
        _members.CopyTo(members);
        foreach (ITransportMember member in members)
        {
            member.End(new ConnectionAbortedException("the transport stops"));
        }

        if (_members.Count == 0)
        {
            _stopped.TrySetResult();
        }

        return _stopped.Task;
    }
}

/// <summary>Something that has a socket and operations in flight on the loop.</summary>
internal interface ITransportMember
{
    /// <summary>Ends it soon; it leaves the transport when the kernel has nothing of it.</summary>
    void End(ConnectionAbortedException reason);
}
