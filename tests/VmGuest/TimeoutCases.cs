using Ublk.Frontend.Targets;
using Ublk.Frontend.Ublk;
using Ublk.Testing;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;
using Ublk.Wire.Blocks;

namespace Ublk.Tests.Guest;

internal static class TimeoutCases
{
    private static readonly UblkDeviceOptions s_options = new()
    {
        QueueDepth = 2,
        RequestTimeout = TimeSpan.FromSeconds(1),
    };

    public static async Task HeldRequestAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        var target = new FaultTarget(
            new MemoryTarget(Bench.DiskBytes, s_options.RequiredTargetRequests));
        UblkDevice device = await bench.CreateAsync(target, s_options);
        using (var client = new Client(device))
        {
            long free = bench.Pool.FreeBytes;
            await bench.OnLoopAsync(() =>
            {
                target.Add(new FaultRule { Action = FaultAction.HoldRequest, Count = 1 });
                return true;
            });
            Bench.Equal(-Errno.ETIMEDOUT, client.WriteNow(4096, 0), "write the target holds");
            Bench.Equal(1L, bench.Counters[UblkCounter.Timeouts], "timeouts");
            client.Memory(4096).Fill(0x11);
            Bench.Equal(4096, client.WriteNow(4096, 4096), "write meanwhile");
            Bench.Check(bench.Pool.FreeBytes < free, "the held request keeps its memory");
            await bench.OnLoopAsync(() => target.Release(1));
            Bench.Equal(free, await bench.OnLoopAsync(() => bench.Pool.FreeBytes), "memory is back");
            Bench.Equal(4096, client.ReadNow(4096, 4096), "read afterwards");
            Bench.Equal((byte)0x11, client.Memory(4096)[0], "content");
        }

        await device.StopAsync(force: false);
    }

    // The target reads from an empty pipe into the request's own pages. The commit is sent while that
    // read is under way; the kernel ends the client's request only when the read has ended.
    public static async Task PagesInUseAsync()
    {
        await using Bench bench = await Bench.StartAsync();
        bench.Require(UblkFeatures.AutoBufferRegistration);
        PipeTarget target = await bench.OnLoopAsync(
            () => new PipeTarget(bench.Loop, s_options.RequiredTargetRequests));
        UblkDevice device = await bench.CreateAsync(target, s_options);
        using (var client = new Client(device))
        {
            await bench.OnLoopAsync(() => target.IsArmed = true);
            Task<int> read = client.ReadAsync(4096, 0);
            while (Volatile.Read(ref bench.Counters[UblkCounter.Timeouts]) == 0)
            {
                await Task.Delay(20);
            }

            await Task.Delay(300);
            Bench.Check(!read.IsCompleted, "the client must wait for the read under way");
            await bench.OnLoopAsync(() =>
            {
                target.CancelAll();
                return true;
            });
            Bench.Equal(-Errno.ETIMEDOUT, await read, "read that was given up");
        }

        await device.StopAsync(force: false);
        int free = await bench.OnLoopAsync(() => bench.Loop.Buffers.FreeCount);
        Bench.Equal(bench.Loop.Buffers.Capacity, free, "free places");
    }

    /// <summary>Reads come from a pipe into which nobody writes.</summary>
    private sealed class PipeTarget : IBlockTarget, IRingCompletion
    {
        private readonly Loop _loop;
        private readonly System.IO.Pipes.AnonymousPipeServerStream _pipe =
            new(System.IO.Pipes.PipeDirection.In);

        private readonly FileHandle _file;
        private readonly Dictionary<ulong, (IBlockCompletion Completion, OperationId Operation)>
            _reads = [];

        public PipeTarget(Loop loop, int requests)
        {
            _loop = loop;
            loop.Reserve(2 * requests);
            int number = (int)_pipe.SafePipeHandle.DangerousGetHandle();
            _file = FileHandle.Open($"/proc/self/fd/{number}", FileAccess.Read);
            Limits = new BlockLimits { MaxRequests = requests, ReadsIntoRegistered = true };
        }

        /// <summary>
        /// Until then reads fail: kernels before 7.0 look for partitions while the device starts.
        /// </summary>
        public bool IsArmed { get; set; }

        public BlockLimits Limits { get; }

        public long SizeBytes => Bench.DiskBytes;

        public long RefreshSize() => SizeBytes;

        public void Submit(in BlockRequest request, IBlockCompletion completion)
        {
            if (request.Operation != BlockOperation.Read)
            {
                completion.OnBlockCompleted(request.Token, BlockStatus.Ok);
                return;
            }

            if (!IsArmed)
            {
                completion.OnBlockCompleted(request.Token, BlockStatus.IoError);
                return;
            }

            OperationId operation = _loop.Submit(
                Entries.Read(RingFile.Of(_file), request.Buffer, -1), this, request.Token);
            _reads[request.Token] = (completion, operation);
        }

        public void CancelAll()
        {
            foreach ((_, OperationId operation) in _reads.Values)
            {
                _loop.Cancel(operation);
            }
        }

        public void OnCompletion(ulong token, int result, CompletionFlags flags)
        {
            (IBlockCompletion completion, _) = _reads[token];
            _reads.Remove(token);
            completion.OnBlockCompleted(token, BlockStatusMap.FromResult(Math.Min(result, 0)));
        }

        public void Dispose() => _pipe.Dispose();
    }
}
