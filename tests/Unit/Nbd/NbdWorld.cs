using System.Buffers;
using System.IO.Pipelines;
using Ublk.Frontend.Nbd;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Xunit;

namespace Ublk.Tests.Unit.Nbd;

/// <summary>An export over a disk in memory, with memory for payload; no sockets, no threads.</summary>
internal sealed class NbdWorld : IDisposable
{
    public const int Mebibyte = 1 << 20;

    private readonly IoBuffer _zeros;

    public NbdWorld(IBlockTarget target, int poolBytes = 8 * Mebibyte, int maxRequests = 64)
    {
        Export = new NbdExport("disk", "", target, maxRequests);
        Pool = new PayloadPool(poolBytes, table: null);
        Assert.True(Pool.TryRent(64 << 10, out _zeros));
        _zeros.Span.Clear();
    }

    public NbdWorld(int poolBytes = 8 * Mebibyte)
        : this(new ModelTarget(16 * Mebibyte, DefaultLimits), poolBytes)
    {
    }

    public static BlockLimits DefaultLimits { get; } = new()
    {
        MaxDiscardBytes = 4 * Mebibyte,
        MaxWriteZeroesBytes = 4 * Mebibyte,
        HasVolatileCache = true,
        CanForceUnitAccess = true,
    };

    public ManualScheduler Scheduler { get; } = new();

    public NbdExport Export { get; }

    public PayloadPool Pool { get; }

    public ModelTarget Target => (ModelTarget)Export.Target;

    /// <summary>Whether all payload memory has come back.</summary>
    public bool IsWhole => Pool.FreeBytes == Pool.CapacityBytes - (64 << 10);

    public NbdClient Connect(
        NbdReplyStyle style = NbdReplyStyle.Structured, NbdTransmissionOptions? options = null) =>
        new(this, style, options ?? new NbdTransmissionOptions { MaxPayloadBytes = 7 * Mebibyte });

    internal IoBuffer Zeros => _zeros;

    public void Dispose() => Pool.Dispose();
}

/// <summary>A client in the middle of transmission, and the server's side of its connection.</summary>
internal sealed class NbdClient
{
    private readonly NbdWorld _world;
    private readonly NbdReplyReader _replies;
    private readonly NbdReplyStyle _style;

    public NbdClient(NbdWorld world, NbdReplyStyle style, NbdTransmissionOptions options)
    {
        _world = world;
        _style = style;
        _replies = new NbdReplyReader(style);
        (Connection, MemoryConnection far) = MemoryConnection.Pair(world.Scheduler, 64 * NbdWorld.Mebibyte);
        Server = new NbdTransmission(
            far, new NbdAgreement(world.Export, style, HasContext: true), options, world.Pool, world.Zeros);
        Run = Server.RunAsync();
    }

    public MemoryConnection Connection { get; }

    public NbdTransmission Server { get; }

    public Task Run { get; }

    /// <summary>Sends a request and lets everything happen that can.</summary>
    public void Send(
        NbdCommand command, ulong cookie, long offset, long length, int flags = 0, byte[]? payload = null)
    {
        if (command == NbdCommand.Read)
        {
            _replies.Expect(cookie, (int)length);
        }

        Send(NbdClientBytes.Request(_style, command, cookie, offset, length, flags, payload));
    }

    public void Send(params byte[][] bytes)
    {
        Connection.Output.Write(NbdClientBytes.Join(bytes));
        Assert.True(Connection.Output.FlushAsync().AsTask().IsCompleted);
        _world.Scheduler.TurnAll();
    }

    public void Expect(ulong cookie, int readBytes) => _replies.Expect(cookie, readBytes);

    /// <summary>The replies that came since.</summary>
    public List<NbdReply> Receive()
    {
        _world.Scheduler.TurnAll();
        byte[] bytes = [];
        if (Connection.Input.TryRead(out ReadResult read))
        {
            bytes = read.Buffer.ToArray();
            Connection.Input.AdvanceTo(read.Buffer.End);
            _world.Scheduler.TurnAll();
        }

        return _replies.Take(bytes);
    }

    /// <summary>The only reply that came since.</summary>
    public NbdReply ReceiveOne() => Assert.Single(Receive());

    public NbdError Ask(NbdCommand command, long offset, long length, int flags = 0, byte[]? payload = null)
    {
        Send(command, 77, offset, length, flags, payload);
        return ReceiveOne().Error;
    }
}
