using Ublk.Replication.State;
using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The replicas of a local volume as they were found: those that could be opened are of one volume, and there
/// are enough of them to serve it. Which epoch is next, and who may be asked for it, is known from them.
/// </summary>
public sealed class LocalVolumeFiles : IDisposable
{
    /// <summary>
    /// Above what is known where a replica is not: attempts that nobody else heard of may have made it
    /// promise a few more, and when it comes back it must not know of a higher epoch than the one served.
    /// </summary>
    private const ulong EpochGap = 1000;

    private readonly ReplicaFiles?[] _files;
    private readonly string?[] _problems;
    private bool _isAnyUsed;

    private LocalVolumeFiles(LocalVolumeOptions options)
    {
        Options = options;
        int count = options.Images.Count;
        _files = new ReplicaFiles?[count];
        _problems = new string?[count];
    }

    /// <summary>Settings of the volume.</summary>
    public LocalVolumeOptions Options { get; }

    /// <summary>N and W.</summary>
    public QuorumRule Rule { get; private set; }

    /// <summary>The opened replicas by their places; null where one could not be opened.</summary>
    public IReadOnlyList<ReplicaFiles?> Replicas => _files;

    /// <summary>Why a replica could not be opened, by places.</summary>
    public IReadOnlyList<string?> Problems => _problems;

    /// <summary>One of those that are open; all agree on volume and blocks.</summary>
    public ReplicaFiles Any { get; private set; } = null!;

    /// <summary>Whether the replicas keep checksums: all of them, or none.</summary>
    public bool HasChecksums => Any.HasChecksums;

    /// <summary>The epoch to begin with: above every promise and every history.</summary>
    public Epoch FirstEpoch { get; internal set; }

    /// <summary>Size of the volume in bytes; the newest that a replica knows.</summary>
    public long SizeBytes => Agreement.SizeBytes;

    /// <summary>What is known now of the configuration.</summary>
    internal LocalAgreement Agreement => LocalAgreement.Of(_files);

    /// <summary>
    /// Too few replicas hold something: nothing is decided before every replica has said what it holds.
    /// </summary>
    public bool NeedsAll { get; private set; }

    /// <summary>Whether a replica holds nothing while another one does.</summary>
    /// <param name="place">Its place.</param>
    public bool IsBlank(int place) => _files[place] is { } files && IsBlank(files) && _isAnyUsed;

    /// <summary>Opens replicas, all at once; takes as long as the slowest disk.</summary>
    /// <param name="options">Settings.</param>
    /// <exception cref="ReplicaStoreException">They are not of one volume.</exception>
    /// <exception cref="IOException">Too few could be opened; the message says why for each.</exception>
    public static LocalVolumeFiles Open(LocalVolumeOptions options)
    {
        var found = new LocalVolumeFiles(options);
        var failures = new Exception?[options.Images.Count];
        Parallel.For(0, options.Images.Count, place =>
        {
            try
            {
                found._files[place] = ReplicaFiles.Open(
                    options.Images[place], options.Direct, options.LiveDirectory);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                failures[place] = failure;
                found._problems[place] = failure.Message;
            }
        });
        try
        {
            found.Judge(failures);
            return found;
        }
        catch
        {
            found.Dispose();
            throw;
        }
    }

    /// <summary>Why opened files are not those of a replica of this volume; null when they are.</summary>
    /// <param name="files">The files.</param>
    /// <param name="place">The place they are to take.</param>
    public string? RefusalOf(ReplicaFiles files, int place)
    {
        Superblock found = files.Opened.Superblock, wanted = Any.Opened.Superblock;
        if (found.Identity.Cluster != wanted.Identity.Cluster ||
            found.Identity.Volume != wanted.Identity.Volume)
        {
            return $"{files.Path} is of volume {found.Identity.Volume} in cluster " +
                $"{found.Identity.Cluster}, and {Any.Path} of volume {wanted.Identity.Volume} in " +
                $"cluster {wanted.Identity.Cluster}";
        }

        // A size that came with a configuration is one that the volume was to have; whoever was away then,
        // or is new, grows. Without one nobody knows which size is right.
        LocalAgreement agreement = Agreement;
        MetadataState state = files.Opened.State;
        bool isSize = state.Configuration is not null || state.SizeBytes == agreement.SizeBytes ||
            agreement.IsRecorded && state.SizeBytes < agreement.SizeBytes;
        if (!isSize || found.LogicalBlockBytes != wanted.LogicalBlockBytes)
        {
            return $"{files.Path} has {state.SizeBytes} bytes in blocks of {found.LogicalBlockBytes}, and " +
                $"the volume {agreement.SizeBytes} in blocks of {wanted.LogicalBlockBytes}";
        }

        if (files.HasChecksums != Any.HasChecksums)
        {
            (ReplicaFiles with, ReplicaFiles without) = files.HasChecksums ? (files, Any) : (Any, files);
            return $"{with.Path} keeps checksums, and {without.Path} does not: all replicas of a volume " +
                "do, or none. Format one of them as a replacement, with --checksums true or false: " +
                "qublk replica format --replacement --overwrite";
        }

        if (_files[place] is { } before && before.Identity.Replica != found.Identity.Replica)
        {
            return $"{files.Path} is replica {found.Identity.Replica} now, and was " +
                $"replica {before.Identity.Replica}";
        }

        for (int other = 0; other < _files.Length; other++)
        {
            if (other != place && _files[other] is { } files2 &&
                files2.Identity.Replica == found.Identity.Replica)
            {
                return $"{files.Path} and {files2.Path} are both replica {found.Identity.Replica}; " +
                    "format one of them with a number of its own";
            }
        }

        return null;
    }

    /// <summary>
    /// Who is in each place: by its files, and for one that was not opened yet by what the others have
    /// recorded. Null where nobody has.
    /// </summary>
    internal ReplicaMember?[] Members()
    {
        var members = new ReplicaMember?[_files.Length];
        for (int place = 0; place < members.Length; place++)
        {
            members[place] = _files[place]?.Identity is { } identity
                ? new ReplicaMember(identity.Replica, identity.Incarnation) : null;
        }

        if (Recorded() is not { } newest)
        {
            return members;
        }

        // Each in its former place, if that is free; the others where there is a place left.
        foreach (bool isFormer in (ReadOnlySpan<bool>)[true, false])
        {
            for (int former = 0; former < members.Length; former++)
            {
                ReplicaMember absent = newest.Members[former];
                bool isNamed = Array.Exists(members, member => member?.Replica == absent.Replica);
                int place = isFormer ? former : Array.IndexOf(members, null);
                if (!isNamed && place >= 0 && members[place] is null)
                {
                    members[place] = absent;
                }
            }
        }

        return members;
    }

    /// <summary>A replica was opened, or opened again.</summary>
    /// <param name="files">Its files; not refused.</param>
    /// <param name="place">Its place.</param>
    /// <returns>Whether another format of it, or none, was known here.</returns>
    internal bool Replace(ReplicaFiles files, int place)
    {
        bool isNew = _files[place]?.Identity.Incarnation != files.Identity.Incarnation;
        _files[place] = files;
        return isNew;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (ReplicaFiles? files in _files)
        {
            files?.Dispose();
        }
    }

    private static bool IsBlank(ReplicaFiles files) => files.Opened.State.History.Points.IsEmpty;

    // The newest configuration that a replica has recorded.
    private ReplicaConfiguration? Recorded()
    {
        ReplicaConfiguration? newest = null;
        foreach (ReplicaFiles? files in _files)
        {
            ReplicaConfiguration? known = files?.Opened.State.Configuration;
            newest = (known?.Number ?? 0) > (newest?.Number ?? 0) ? known : newest;
        }

        return newest;
    }

    // Two quorums of different rules may have nobody in common.
    private QuorumRule RuleOf(int wanted)
    {
        int count = _files.Length;
        if (Recorded() is not { } recorded)
        {
            return wanted == 0 ? QuorumRule.Majority(count) : new QuorumRule(count, wanted);
        }

        if (count != recorded.Members.Length)
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongReplica,
                $"the volume has {recorded.Members.Length} replicas, and {count} are named; name all of " +
                "them, also those that are lost");
        }

        if (wanted != 0 && wanted != recorded.WriteQuorum)
        {
            throw new ReplicaStoreException(ReplicaStoreError.WrongReplica,
                $"the volume has a write quorum of {recorded.WriteQuorum}, and {wanted} is wanted; it " +
                "stays what it was at the first start");
        }

        return new QuorumRule(count, recorded.WriteQuorum);
    }

    // With the kind of what is wrong where that is the same for all, so that it has its exit code.
    private Exception TooFew(int open, Exception[] failures)
    {
        string text = $"{open} of {_files.Length} replicas can be opened, {Rule.PromiseQuorum} are needed: " +
            string.Join("; ", Array.ConvertAll(failures, failure => failure.Message));
        if (failures[0] is ReplicaStoreException store && Array.TrueForAll(
            failures, failure => failure is ReplicaStoreException other && other.Error == store.Error))
        {
            return new ReplicaStoreException(store.Error, text);
        }

        // One that is in use may be free in a moment.
        BlockImageException? image = (BlockImageException?)Array.Find(
            failures, failure => failure is BlockImageException { Error: BlockImageError.Busy }) ??
            failures[0] as BlockImageException;
        return image is null ? new IOException(text) : new BlockImageException(image.Error, text);
    }

    private void Judge(Exception?[] failures)
    {
        int open = 0, used = 0;
        ulong highest = 0;
        for (int place = _files.Length - 1; place >= 0; place--)
        {
            if (_files[place] is not { } files)
            {
                continue;
            }

            Any = files;
            open++;
            used += IsBlank(files) ? 0 : 1;
            MetadataState state = files.Opened.State;
            highest = Math.Max(highest, Math.Max(state.Promise.Epoch, state.History.Last.Epoch));
        }

        Rule = RuleOf(Options.WriteQuorum);
        if (open < Rule.PromiseQuorum)
        {
            throw TooFew(open, Array.FindAll(failures, failure => failure is not null)!);
        }

        for (int place = 0; place < _files.Length; place++)
        {
            if (_files[place] is { } files && RefusalOf(files, place) is { } refusal)
            {
                throw new ReplicaStoreException(ReplicaStoreError.WrongReplica, refusal);
            }
        }

        _isAnyUsed = used > 0;
        NeedsAll = _isAnyUsed && used < Rule.PromiseQuorum;
        if (NeedsAll && open < _files.Length)
        {
            throw new ReplicaStoreException(ReplicaStoreError.Missing,
                $"{open - used} of the {open} replicas that can be opened hold nothing yet, and what the " +
                "others may hold is needed: " +
                string.Join("; ", Array.FindAll(_problems, problem => problem is not null)));
        }

        FirstEpoch = new Epoch(highest + (open < _files.Length ? EpochGap : 1));
    }
}
