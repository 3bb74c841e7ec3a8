using Ublk.Tests.Simulation.World;
using Ublk.Uring;

namespace Ublk.Tests.Simulation.Tests;

/// <summary>A host with one disk, and what its process was told.</summary>
internal sealed class ImageBench : IDisposable
{
    public const int SizeBytes = 1 << 20;

    private readonly WorldPools _pools = new();
    private ulong _nextIo = 1;

    public ImageBench(ulong seed = 1)
    {
        Node = new SimulatedNode(0, _pools.Clock, new SimulationRandom(seed));
        Image = new SimulatedImage(Node, _pools.Clock, _pools, new SimulationRandom(seed), SizeBytes)
        {
            Ended = (io, result) => Results.Add(io, result),
        };
    }

    public SimulatedNode Node { get; }

    public SimulatedImage Image { get; }

    public SimulationClock Clock => _pools.Clock;

    public SimulatedMemory Memory => _pools.Memory;

    public Dictionary<ulong, int> Results { get; } = [];

    public void Dispose() => _pools.Dispose();

    public ulong BeginWrite(long offset, int length, byte value)
    {
        IoBuffer buffer = Memory.Rent(length);
        buffer.Span.Fill(value);
        Image.Write(_nextIo, offset, buffer);
        return _nextIo++;
    }

    public ulong BeginZero(long offset, int length)
    {
        Image.Zero(_nextIo, offset, length);
        return _nextIo++;
    }

    public ulong BeginSync()
    {
        Image.Sync(_nextIo);
        return _nextIo++;
    }

    public ulong BeginGrow(long size)
    {
        Image.Grow(_nextIo, size);
        return _nextIo++;
    }

    public int Finish(ulong io)
    {
        while (!Results.ContainsKey(io) && Clock.Step())
        {
        }

        return Results[io];
    }

    public void Write(long offset, int length, byte value) => _ = Finish(BeginWrite(offset, length, value));

    public byte[] Read(long offset, int length)
    {
        IoBuffer buffer = Memory.Rent(length);
        Image.Read(_nextIo, offset, buffer);
        int result = Finish(_nextIo++);
        byte[] bytes = result < 0 ? [] : buffer.Span.ToArray();
        Memory.Return(buffer);
        return bytes;
    }

    /// <summary>The first byte of every sector of a range, as it is now.</summary>
    public byte[] Sectors(long offset, int count)
    {
        byte[] bytes = new byte[count * 512];
        Image.Peek(offset, bytes);
        return [.. Enumerable.Range(0, count).Select(sector => bytes[sector * 512])];
    }
}
