using Ublk.Replication.Primary;
using Ublk.Replication.Runtime;
using Ublk.Replication.Store;
using Ublk.Tests.Unit.Uring;
using Ublk.Uring;
using Ublk.Wire.Blocks;
using Ublk.Wire.Ids;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Runtime;

/// <summary>
/// A volume over replicas in files of a temporary directory, on a loop that the test turns, and a host that
/// remembers what it wrote.
/// </summary>
internal sealed class LocalVolume : IDisposable, IBlockCompletion
{
    public const int BlockBytes = 512;

    private readonly TempDirectory _directory = new();
    private readonly Dictionary<ulong, BlockStatus> _ended = [];
    private ulong _lastToken;

    public LocalVolume(
        int replicas = 3, long sizeBytes = 16 << 20, long poolBytes = 16 << 20, bool hasChecksums = false)
    {
        HasChecksums = hasChecksums;
        SizeBytes = sizeBytes;
        Loop = new Loop(
            new LoopOptions { MaxOperations = 4096, BufferTableSlots = 16, FileTableSlots = 32 },
            TimeProvider.System);
        Pool = new PayloadPool(poolBytes, Loop.Buffers);
        Model = new byte[sizeBytes];
        Images = new string[replicas];
        for (int place = 0; place < replicas; place++)
        {
            Images[place] = _directory.File($"image{place}");
            Format(place, ImageContent.New);
        }
    }

    public Loop Loop { get; }

    public PayloadPool Pool { get; }

    public string[] Images { get; }

    public long SizeBytes { get; private set; }

    public byte[] Model { get; private set; }

    public ReplicatedTarget Target { get; private set; } = null!;

    public int WriteQuorum { get; set; }

    /// <summary>Whether replicas are formatted with checksums.</summary>
    public bool HasChecksums { get; set; }

    public string LiveDirectory => Path.Combine(_directory.Root, "live");

    public LocalVolumeOptions Options => new()
    {
        Images = Images,
        WriteQuorum = WriteQuorum,
        LiveDirectory = LiveDirectory,
        Writer = new Writer(new NodeId(1), 77),
        Tick = TimeSpan.FromMilliseconds(5),
    };

    public void Format(int place, ImageContent content, bool isImageMade = false)
    {
        if (isImageMade)
        {
            File.Delete(Images[place]);
        }

        _ = ReplicaFormat.Create(Images[place], new ReplicaFormatOptions
        {
            Identity = new ReplicaIdentity(
                new ClusterId(1), new VolumeId(2), new ReplicaId((uint)place + 1),
                new Incarnation((UInt128)Random.Shared.NextInt64() + 1)),
            Content = content,
            SizeBytes = SizeBytes,
            LogicalBlockBytes = BlockBytes,
            Options = HasChecksums ? StoreOptions.Checksums : StoreOptions.None,
            Overwrite = true,
        });
    }

    /// <summary>Opens the replicas and waits until the volume is served.</summary>
    public LocalVolume Start(Action<LocalVolumeFiles>? prepare = null)
    {
        LocalVolumeFiles files = LocalVolumeFiles.Open(Options);
        prepare?.Invoke(files);
        Target = ReplicatedTarget.Create(files, Loop, Pool);
        Loop.Until(() => Target.Served.IsCompleted);
        Assert.Equal(PrimaryStage.Serving, Target.Stage);
        return this;
    }

    /// <summary>Makes the volume larger; what is added reads as zeros.</summary>
    public void Grow(long sizeBytes)
    {
        Task growth = Target.GrowAsync(sizeBytes);
        Loop.Until(() => growth.IsCompleted);
        Assert.Null(growth.Exception);
        Assert.Equal(sizeBytes, Target.SizeBytes);
        Adopt(sizeBytes);
    }

    /// <summary>The host learns of another size.</summary>
    public void Adopt(long sizeBytes)
    {
        byte[] model = Model;
        Array.Resize(ref model, (int)sizeBytes);
        Model = model;
        SizeBytes = sizeBytes;
    }

    /// <summary>Tries to make the volume larger, in vain: nothing changes.</summary>
    public VolumeGrowthException Refused(long sizeBytes)
    {
        long[] lengths = [.. Images.Select(image => new FileInfo(image).Length)];
        Task growth = Target.GrowAsync(sizeBytes);
        Loop.Until(() => growth.IsCompleted);
        var refusal = Assert.IsType<VolumeGrowthException>(growth.Exception?.InnerException);
        Assert.Equal(SizeBytes, Target.SizeBytes);
        Assert.Equal(lengths, Images.Select(image => new FileInfo(image).Length));
        return refusal;
    }

    /// <summary>Starts a write of random bytes, which the model remembers.</summary>
    public ulong BeginWrite(long offset, int length, Random random, bool isDurable = false)
    {
        IoBuffer buffer = default;
        Loop.Until(() => Pool.TryRent(length, out buffer));
        random.NextBytes(buffer.Span);
        buffer.Span.CopyTo(Model.AsSpan((int)offset, length));
        ulong token = ++_lastToken;
        Target.Submit(new BlockRequest(
            BlockOperation.Write, isDurable ? BlockRequestFlags.ForceUnitAccess : BlockRequestFlags.None,
            offset, length, buffer, token), new Returner(this, buffer));
        return token;
    }

    public void Write(long offset, int length, Random random, bool isDurable = false) =>
        Assert.Equal(BlockStatus.Ok, Await(BeginWrite(offset, length, random, isDurable)));

    public void Zero(BlockOperation operation, long offset, long length, bool keepsSpace = false)
    {
        Model.AsSpan((int)offset, (int)length).Clear();
        Target.Submit(new BlockRequest(
            operation, keepsSpace ? BlockRequestFlags.NoUnmap : BlockRequestFlags.None, offset, length,
            default, ++_lastToken), this);
        Assert.Equal(BlockStatus.Ok, Await(_lastToken));
    }

    public void Flush()
    {
        Target.Submit(new BlockRequest(
            BlockOperation.Flush, BlockRequestFlags.None, 0, 0, default, ++_lastToken), this);
        Assert.Equal(BlockStatus.Ok, Await(_lastToken));
    }

    /// <summary>Reads, and compares with the model.</summary>
    public void Check(long offset, int length)
    {
        IoBuffer buffer = default;
        Loop.Until(() => Pool.TryRent(length, out buffer));
        Target.Submit(new BlockRequest(
            BlockOperation.Read, BlockRequestFlags.None, offset, length, buffer, ++_lastToken), this);
        Assert.Equal(BlockStatus.Ok, Await(_lastToken));
        Assert.True(buffer.Span.SequenceEqual(Model.AsSpan((int)offset, length)), $"bytes at {offset}");
        Pool.Return(buffer);
    }

    public void CheckAll()
    {
        for (int offset = 0; offset < SizeBytes; offset += 1 << 20)
        {
            Check(offset, (int)Math.Min(1 << 20, SizeBytes - offset));
        }
    }

    /// <summary>Some writes, zeroes and discards all over the volume.</summary>
    public void Work(Random random, int count)
    {
        for (int i = 0; i < count; i++)
        {
            int length = BlockBytes * random.Next(1, 257);
            long offset = random.NextInt64((SizeBytes - length) / BlockBytes) * BlockBytes;
            switch (random.Next(12))
            {
                case 0: Zero(BlockOperation.Discard, offset, length); break;
                case 1: Zero(BlockOperation.WriteZeroes, offset, length); break;
                case 2: Zero(BlockOperation.WriteZeroes, offset, length, keepsSpace: true); break;
                case 3: Flush(); break;
                case 4: Write(offset, length, random, isDurable: true); break;
                default: Write(offset, length, random); break;
            }
        }
    }

    public BlockStatus Await(ulong token)
    {
        Loop.Until(() => _ended.ContainsKey(token));
        _ = _ended.Remove(token, out BlockStatus status);
        return status;
    }

    public void OnBlockCompleted(ulong token, BlockStatus status) => _ended.Add(token, status);

    public void UntilStage(int place, LocalReplicaStage stage) =>
        Loop.Until(() => Target.Status()[place].Stage == stage);

    public void UntilInSync()
    {
        try
        {
            Loop.Until(
                () => Target.Status().All(replica => replica.Stage == LocalReplicaStage.InSync));
        }
        catch (Xunit.Sdk.XunitException)
        {
            Assert.Fail($"{Target.Stage}: {string.Join("; ", Target.Status())}\n{Target.Describe()}");
        }
    }

    /// <summary>Waits until nothing is an intent: what is on the disks is known to all.</summary>
    public void UntilCold() => Loop.Until(() =>
        Target.Describe().Split("intents 0,").Length == Images.Length + 1);

    public void Close(int place)
    {
        Task closed = Target.CloseReplica(place);
        Loop.Until(() => closed.IsCompleted);
    }

    /// <summary>Stops in order; all memory is back then.</summary>
    public void Stop()
    {
        Task stopped = Target.StopAsync();
        Loop.Until(() => stopped.IsCompleted);
        Assert.Equal(Pool.CapacityBytes, Pool.FreeBytes);
    }

    /// <summary>The images as files have the same bytes, and those of the model.</summary>
    public void AssertIdentical()
    {
        foreach (string image in Images)
        {
            byte[] bytes = TestFiles.Bytes(image);
            int equal = bytes.AsSpan().CommonPrefixLength(Model);
            Assert.True(equal == Model.Length, $"{image} differs at {equal}");
        }
    }

    public void Dispose()
    {
        if (Target is not null)
        {
            Task stopped = Target.StopAsync();
            Loop.Until(() => stopped.IsCompleted);
        }

        Pool.Dispose();
        Loop.Dispose();
        _directory.Dispose();
    }

    /// <summary>As a frontend does: its own share of the payload goes back at the end.</summary>
    private sealed class Returner(LocalVolume volume, IoBuffer buffer) : IBlockCompletion
    {
        public void OnBlockCompleted(ulong token, BlockStatus status)
        {
            volume.Pool.Return(buffer);
            volume.OnBlockCompleted(token, status);
        }
    }
}
