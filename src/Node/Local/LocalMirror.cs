using System.Buffers.Binary;
using System.Security.Cryptography;
using Ublk.Node.Cli;
using Ublk.Replication.Runtime;
using Ublk.Uring;
using Ublk.Wire.Ids;

namespace Ublk.Node.Local;

/// <summary>
/// A replicated volume behind a device, all replicas of which this process serves, with its memory and the
/// file that tells others how far the replicas are.
/// </summary>
internal sealed class LocalMirror
{
    private static readonly TimeSpan s_serveLimit = TimeSpan.FromSeconds(60);

    private readonly LocalOptions _options;
    private readonly Loop _loop;
    private readonly RunDirectory _run;
    private readonly TimeProvider _time;
    private readonly Lock _writing = new();
    private volatile List<ReplicaLine> _latest = [];
    private LocalScrubs? _scrubs;
    private LocalControl? _control;

    private LocalMirror(
        LocalOptions options, Loop loop, RunDirectory run, PayloadPool pool, ReplicatedTarget target,
        TimeProvider time)
    {
        _options = options;
        _loop = loop;
        _run = run;
        _time = time;
        Pool = pool;
        Target = target;
    }

    /// <summary>Memory of its payload.</summary>
    public PayloadPool Pool { get; }

    /// <summary>The volume.</summary>
    public ReplicatedTarget Target { get; }

    /// <summary>Opens the replicas, gets the volume in a new epoch, and answers when it is served.</summary>
    /// <param name="options">Images, quorum, memory.</param>
    /// <param name="loop">The loop it will live on.</param>
    /// <param name="run">The run directory.</param>
    /// <param name="requests">Requests at once.</param>
    /// <param name="lockLimit">How long images that are locked are waited for.</param>
    /// <param name="time">Clock.</param>
    /// <exception cref="IOException">Too few replicas can be opened, or they do not fit.</exception>
    /// <exception cref="CommandException">The volume could not be had in time.</exception>
    public static async Task<LocalMirror> StartAsync(
        LocalOptions options, Loop loop, RunDirectory run, int requests, TimeSpan lockLimit,
        TimeProvider time)
    {
        ulong nonce = BinaryPrimitives.ReadUInt64LittleEndian(RandomNumberGenerator.GetBytes(8)) >> 1;
        var wanted = new LocalVolumeOptions
        {
            Images = options.Images,
            WriteQuorum = options.WriteQuorum,
            Direct = options.Direct,
            LiveDirectory = run.LiveDirectory,
            Writer = new Writer(new NodeId(1), nonce),
            MaxRequests = requests,
        };
        LocalVolumeFiles files = await Polling.AskAsync(
            () => TryOpen(wanted), static files => files is null, lockLimit, time).ConfigureAwait(false) ??
            LocalVolumeFiles.Open(wanted); // The last attempt tells what is wrong.
        LocalMirror mirror = await loop.InvokeAsync(() =>
        {
            var pool = new PayloadPool(options.PoolBytes, loop.Buffers);
            return new LocalMirror(
                options, loop, run, pool, ReplicatedTarget.Create(files, loop, pool), time);
        }).ConfigureAwait(false);
        try
        {
            await mirror.Target.Served.WaitAsync(s_serveLimit, time).ConfigureAwait(false);
            return mirror;
        }
        catch (TimeoutException)
        {
            string status = await mirror.DescribeAsync().ConfigureAwait(false);
            await mirror.StopAsync().ConfigureAwait(false);
            throw new CommandException(ExitCode.TimedOut,
                $"the volume could not be had within {s_serveLimit.TotalSeconds} s: {status}");
        }
    }

    /// <summary>
    /// From now on the run directory tells how far the replicas are, they are compared now and then, and the
    /// volume can be made larger.
    /// </summary>
    /// <param name="deviceId">The device.</param>
    public async Task ReportAsync(int deviceId)
    {
        _control = LocalControl.Open(_run.ControlPath(deviceId), Target, _time);
        _scrubs = new LocalScrubs(Target, _options, _run, deviceId, _time);
        _scrubs.Start();
        _ = await _loop.InvokeAsync(() =>
        {
            Target.OnChanged = () => Report(deviceId);
            Report(deviceId);
            return true;
        }).ConfigureAwait(false);
    }

    /// <summary>Finishes what was asked for, closes the replicas and frees the memory.</summary>
    public async Task StopAsync()
    {
        _ = await _loop.InvokeAsync(() =>
        {
            Target.OnChanged = null;
            return true;
        }).ConfigureAwait(false);
        if (_control is not null)
        {
            await _control.DisposeAsync().ConfigureAwait(false);
        }

        Task scrubsEnded = _scrubs?.EndAsync() ?? Task.CompletedTask;
        await Target.StopAsync().ConfigureAwait(false);
        await scrubsEnded.ConfigureAwait(false);

        _ = await _loop.InvokeAsync(() =>
        {
            Pool.Dispose();
            return true;
        }).ConfigureAwait(false);
    }

    // The loop does not wait for a file; whoever writes, writes the latest.
    private void Report(int deviceId)
    {
        _latest = Lines(Target.Status());
        _ = Task.Run(() =>
        {
            lock (_writing)
            {
                _run.WriteReplicas(deviceId, _latest);
            }
        });
    }

    private async Task<string> DescribeAsync()
    {
        IReadOnlyList<LocalReplicaStatus> status =
            await _loop.InvokeAsync(Target.Status).ConfigureAwait(false);
        return string.Join("; ", Lines(status).Select(
            line => $"{line.Image} is {line.Stage}" + (line.Problem is null ? "" : $" ({line.Problem})")));
    }

    private List<ReplicaLine> Lines(IReadOnlyList<LocalReplicaStatus> status) =>
    [
        .. status.Select(replica => new ReplicaLine(
            replica.Image, Name(replica.Stage), replica.MissingRegions, Target.HasChecksums, replica.Problem,
            replica.Damage)),
    ];

    private static string Name(LocalReplicaStage stage) => stage switch
    {
        LocalReplicaStage.Closed => "closed",
        LocalReplicaStage.Behind => "behind",
        LocalReplicaStage.Resyncing => "resyncing",
        _ => "in sync",
    };

    private static LocalVolumeFiles? TryOpen(LocalVolumeOptions options)
    {
        try
        {
            return LocalVolumeFiles.Open(options);
        }
        catch (BlockImageException exception) when (exception.Error == BlockImageError.Busy)
        {
            return null;
        }
    }
}
