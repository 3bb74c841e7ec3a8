using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <summary>How far an operation has come at a replica.</summary>
internal enum OperationStage : byte
{
    /// <summary>The place is free.</summary>
    None,
    /// <summary>Came while the epoch's start was being recorded.</summary>
    Held,
    /// <summary>No room for its intents yet.</summary>
    Crowded,
    /// <summary>Its intents are on their way to the ring.</summary>
    Marking,
    /// <summary>An earlier operation on its range is not done.</summary>
    Ordered,
    /// <summary>The image has it.</summary>
    Issued,
    /// <summary>Is being forgotten.</summary>
    Dropped,
    /// <summary>It failed, and what is missing now is on its way to the ring.</summary>
    Breaking,
}

/// <summary>An operation of the stream from its arrival until it is applied.</summary>
internal struct ReplicaOperation
{
    public OperationStage Stage;
    public Mutation Operation;
    public MutationFlags Flags;

    /// <summary>How it ended, once it has.</summary>
    public AnswerStatus Status;
    public int LengthBytes;
    public ulong Sequence;
    public long OffsetBytes;

    /// <summary>The mark that it waits for.</summary>
    public ulong Ticket;

    /// <summary>The bytes of a write.</summary>
    public IoBuffer Payload;

    /// <summary>Whether the image has it, or the ring because it failed.</summary>
    public readonly bool IsWithImage =>
        Stage is OperationStage.None or OperationStage.Issued or OperationStage.Breaking;
}
