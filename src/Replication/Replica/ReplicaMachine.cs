using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>
/// One replica of a volume: takes the operations of whom it has promised the volume to, applies them to its
/// image, and says truthfully what it holds. It only decides: no thread, no clock, no socket, no file. Used
/// on one thread; effects answer later. No allocation per operation.
/// Source: the replication design, sections 3 to 6 and 11.
/// </summary>
public sealed partial class ReplicaMachine : IMetadataLogEffects
{
    private readonly ReplicaContext _context;
    private readonly IReplicaEffects _effects;
    private readonly ReplicaProgress _progress;
    private readonly ReplicaIntents _intents;
    private readonly ReplicaWrites _writes;
    private readonly ReplicaFlushes _flushes;
    private readonly ReplicaPromises _promises;
    private readonly ReplicaClaims _claims;
    private readonly ReplicaStart _start;
    private readonly ReplicaReads _reads;
    private readonly ReplicaCopies _copies;
    private readonly ReplicaResync _resync;
    private readonly ReplicaSessions _sessions = new();
    private bool _isReady;
    private bool _isDead;
    private long _lastWriteAt;

    /// <summary>Opens a replica that was loaded; it answers once what it must record is durable.</summary>
    /// <param name="options">Settings.</param>
    /// <param name="opened">What the store found.</param>
    /// <param name="live">Its live page; made anew here unless it is to be trusted.</param>
    /// <param name="boot">Boot id and backing device of now.</param>
    /// <param name="record">4096 bytes for the metadata record under way.</param>
    /// <param name="checksums">
    /// Memory for pages of checksums (<see cref="MemoryForChecksums"/>); empty where it keeps none.
    /// </param>
    /// <param name="effects">The surroundings.</param>
    /// <param name="now">The clock, in nanoseconds that also pass while the host sleeps.</param>
    public ReplicaMachine(
        ReplicaOptions options, OpenedReplica opened, LivePage<MappedLiveMemory> live, BootEntry boot,
        in IoBuffer record, in IoBuffer checksums, IReplicaEffects effects, long now)
    {
        _effects = effects;
        var log = new MetadataLog(opened.State, opened.Layout, opened.Position, record, this);
        _context = new ReplicaContext
        {
            Options = options, Superblock = opened.Superblock, Log = log, Effects = effects, Live = live,
            Now = now,
        };
        bool hasChecksums = opened.Superblock.Options.HasFlag(StoreOptions.Checksums);
        _context.Image = hasChecksums
            ? new ChecksumAccess(effects, State, options.BlockBytes, checksums, options.MaxImageOperations)
            {
                OnEnded = OnEnded,
            }
            : new PlainAccess(effects) { OnEnded = OnEnded };
        bool isTrusted = opened.Trust == LivePageTrust.Trusted;
        RestoreLive(opened, live, boot, isTrusted);
        _progress = new ReplicaProgress(_context, opened.Applied.Sequence);
        foreach (LiveOperation operation in opened.OutOfOrder)
        {
            _progress.Restore(operation.Sequence);
        }

        _intents = new ReplicaIntents(_context);
        int firstPiece = options.MaxOperations, firstRead = firstPiece + ReplicaResync.MaxPieces;
        var order = new RangeOrder(firstRead + options.MaxReads) { OnTurn = slot => OnTurn(slot, firstRead) };
        _flushes = new ReplicaFlushes(_context, _progress);
        _promises = new ReplicaPromises(_context);
        _resync = new ReplicaResync(_context, _flushes, _intents, order, firstPiece)
        {
            Applied = () => _progress.Applied,
            HighestAccepted = () => _writes!.Next - 1,
        };
        _writes = new ReplicaWrites(_context, _progress, _intents, order)
        {
            OnAccepted = _resync.OnOperation,
            OnApplied = OnApplied,
        };
        _claims = new ReplicaClaims(_context, _progress) { IsMemoryIntact = isTrusted };
        _start = new ReplicaStart(_context, _progress);
        _reads = new ReplicaReads(_context, _progress, order, firstRead);
        _copies = new ReplicaCopies(_context, _intents);
        _lastWriteAt = now;
        RecordOpening(opened, boot);
    }

    /// <summary>What is durable.</summary>
    public MetadataState State => _context.State;

    /// <summary>Whether the replica keeps checksums, and what is read is held against them.</summary>
    public bool HasChecksums => _context.Image.HasChecksums;

    /// <summary>The image with its checksums, for who watches; null without.</summary>
    internal ChecksumAccess? Checksums => _context.Image as ChecksumAccess;

    /// <summary>A: everything up to it is applied here.</summary>
    public ulong Applied => _progress.Applied;

    /// <summary>D: everything up to it is on stable media here.</summary>
    public ulong Durable => _context.Durable;

    /// <summary>C, as the primary of the epoch said.</summary>
    public ulong Committed => _promises.Committed;

    /// <summary>The promise.</summary>
    public PromiseEntry Promise => _promises.Current;

    /// <summary>Whether the metadata failed: the replica says nothing any more.</summary>
    public bool IsDead => _isDead;

    /// <summary>Whether bringing data to stable media failed: only a new process may try again.</summary>
    public bool HasFailed => _context.IsFailed;

    /// <summary>Whether nothing is under way.</summary>
    public bool IsIdle => _writes.Count == 0 && _copies.Count == 0 && !_flushes.IsBusy && _reads.IsIdle &&
        _start.Stage == StartStage.None && _context.Log.IsIdle;

    /// <summary>Whether the epoch of the promise may write here.</summary>
    private bool IsStarted => _promises.Current.Epoch != 0 && _start.Stage == StartStage.None &&
        State.EpochStart.Epoch == _promises.Current.Epoch;

    /// <summary>Memory that a replica with checksums needs, in bytes.</summary>
    /// <param name="options">Its settings.</param>
    /// <param name="pages">Pages of checksums at once, each for 4 MiB of the volume: at least 4.</param>
    public static int MemoryForChecksums(ReplicaOptions options, int pages) =>
        ChecksumAccess.ScratchBytes(options.BlockBytes, options.MaxImageOperations) +
        Math.Max(pages, ChecksumPages.MinPages) * ChecksumPages.PageBytes;

    /// <summary>
    /// Whether the image has the current bytes of a range; to be asked before a read and when it has ended.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    public bool IsCurrent(long offsetBytes, long lengthBytes) =>
        !_context.IsFailed &&
        (!_context.IsMissing(offsetBytes, lengthBytes) || Mistakes.Make(Mistake.StaleLocalRead));

    /// <summary>A session has ended.</summary>
    /// <param name="session">Which.</param>
    /// <param name="now">The clock.</param>
    public void OnSessionEnded(int session, long now)
    {
        _context.Now = now;
        Forget(session);
        Settle();
    }

    /// <summary>An operation on the image has ended.</summary>
    /// <param name="io">As it was named.</param>
    /// <param name="result">Bytes, 0, or −errno.</param>
    /// <param name="now">The clock.</param>
    public void OnImageEnded(ulong io, int result, long now)
    {
        _context.Now = now;
        _context.Image.Complete(io, result);
        Settle();
    }

    private void OnEnded(ulong io, int result)
    {
        int slot = (int)ReplicaContext.ValueOf(io);
        switch (ReplicaContext.KindOf(io))
        {
            case ReplicaIo.Operation:
                if (!_writes.OnImageEnded(slot, result))
                {
                    Break(slot);
                }

                break;
            case ReplicaIo.Read:
                _reads.OnImageEnded(slot, result);
                break;
            case ReplicaIo.Copy:
                FailUnless(_copies.OnImageEnded(slot, result));
                break;
            case ReplicaIo.Piece:
                FailUnless(_resync.OnImageEnded(slot, result));
                break;
            case ReplicaIo.Sync:
                FailUnless((result >= 0 || Mistakes.Make(Mistake.SyncErrorIgnored)) && _flushes.OnSynced());
                break;
            case ReplicaIo.Start:
                FailUnless(result >= 0 && _start.TryRecord());
                break;
            default:
                throw new InvalidOperationException($"image operation {io:x} is none of this replica's");
        }
    }

    /// <summary>A metadata record has been written.</summary>
    /// <param name="result">0, or −errno.</param>
    /// <param name="now">The clock.</param>
    public void OnMetadataWritten(int result, long now)
    {
        _context.Now = now;
        _context.Log.WriteCompleted(result);
        Settle();
    }

    /// <summary>Time passes: grants end, intents are cleared, an idle volume is flushed.</summary>
    /// <param name="now">The clock.</param>
    public void OnTick(long now)
    {
        _context.Now = now;
        if (_promises.IsOverdue && !IsDrained)
        {
            int session = _promises.TakeAsker();
            _promises.Refuse(session, new Epoch(_promises.Current.Epoch), ClaimAnswer.Failed);
        }

        bool isIdle = now - _lastWriteAt > _context.Options.IdleNs;
        if (IsStarted && !_context.IsFailed)
        {
            if (isIdle && _intents.HotRegions > 0)
            {
                _flushes.Want();
            }

            _intents.Clear(_promises.Committed, isIdle, budget: 64);
        }

        Settle();
    }

    void IMetadataLogEffects.WriteDurably(long offsetBytes, in IoBuffer record) =>
        _effects.WriteMetadata(offsetBytes, record);

    void IMetadataLogEffects.RecordDurable(ulong number) => _context.Live.LastRecord = number;

    void IMetadataLogEffects.MetadataFailed(int result)
    {
        _isDead = true;
        _sessions.CloseAll(_effects, CloseReason.Failed, $"the metadata failed: {Errno.Describe(result)}");
        _writes.Session = -1;
    }

    void IMetadataLogEffects.Completed(ulong token)
    {
        ulong value = ReplicaContext.ValueOf(token);
        switch (ReplicaContext.KindOf(token))
        {
            case ReplicaIo.Mark:
                _intents.OnMarked(value);
                _writes.OnMarked(value);
                _copies.OnMarked(value);
                break;
            case ReplicaIo.View:
                _writes.OnViewDurable();
                break;
            case ReplicaIo.Sync:
                _flushes.OnDurable();
                break;
            case ReplicaIo.Promise:
                _promises.OnDurable(value);
                break;
            case ReplicaIo.Start:
                FinishStart();
                break;
            case ReplicaIo.Broken:
                _context.Breaking.RemoveAt(0); // Records become durable in order.
                _context.Live.Condition = State.Condition;
                _writes.Finish((int)value);
                break;
            case ReplicaIo.Condition:
                _context.Live.Condition = State.Condition;
                FinishFailing();
                break;
            case ReplicaIo.Whole:
                FinishRegion((int)value);
                break;
            case ReplicaIo.Healed:
                _context.Live.Condition = State.Condition;
                _resync.OnRecorded((int)value);
                break;
            case ReplicaIo.Configuration:
                FinishConfiguration();
                break;
            case ReplicaIo.Opening:
                _isReady = true;
                _context.Live.Condition = State.Condition;
                _sessions.TakeWaiting(OnMayOpen);
                break;
            default:
                break; // A longer lease: the state has it.
        }
    }

    private static void RestoreLive(
        OpenedReplica opened, LivePage<MappedLiveMemory> live, BootEntry boot, bool isTrusted)
    {
        if (!isTrusted)
        {
            live.Initialize(
                opened.Superblock.Identity.Incarnation, boot, opened.State, opened.Position.LastRecord,
                opened.Applied);
        }
        else if (live.Applied.Epoch != opened.Applied.Epoch)
        {
            live.BeginHistory(opened.Applied); // A crash came between the ring and the page.
        }
    }

    private void RecordOpening(OpenedReplica opened, BootEntry boot)
    {
        if (opened.MustBeVoided)
        {
            bool isNew = (State.Condition & ReplicaCondition.Voided) == ReplicaCondition.Sound;
            ulong voidedIn = isNew ? Math.Max(1, State.History.Last.Epoch) : State.VoidedIn;
            _ = _context.Log.Append(
                new ConditionEntry(State.Condition | ReplicaCondition.Voided, voidedIn), MetadataLog.NoToken);
        }

        AppendResult result = _context.Log.Append(boot, ReplicaContext.Name(ReplicaIo.Opening));
        if (result != AppendResult.Queued)
        {
            throw new ReplicaStoreException(
                ReplicaStoreError.Failed, "the metadata ring has no room for the opening of the replica");
        }

        _context.Log.Issue();
    }

    // The end of every event: what has become possible is done, and all appends go out together.
    private void Settle()
    {
        if (_isDead)
        {
            return;
        }

        if (_writes.IsCrowded && IsStarted && !_context.IsFailed)
        {
            _flushes.Want();
            _intents.Clear(_promises.Committed, isIdle: true, budget: 16);
            _writes.Retry();
        }

        if (_start.Stage == StartStage.Draining && IsDrained)
        {
            _start.Sync();
        }

        bool isDrained = IsDrained || Mistakes.Make(Mistake.ClaimBeforeDrained);
        if (_promises.MayAnswer && isDrained && _start.Stage == StartStage.None)
        {
            _claims.SendClaim(_promises.TakeAsker(), _promises.Current);
        }

        if (IsStarted)
        {
            _resync.Step();
        }

        _reads.Step();
        _context.Log.Issue();
    }

    // Pieces wait for nothing.
    private void OnTurn(int slot, int firstRead)
    {
        if (slot >= firstRead)
        {
            _reads.OnTurn(slot - firstRead);
        }
        else
        {
            _writes.OnTurn(slot);
        }
    }

    private bool IsDrained => _writes.IssuedCount == 0 && _copies.Count == 0 &&
        _resync.Count == 0 && _context.Leaving.Count == 0 && !_flushes.IsBusy && !_start.IsSyncing;

    private void OnApplied()
    {
        _lastWriteAt = _context.Now;
        _flushes.Step();
    }
}
