using Ublk.Uring;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The memory of a volume's payload on one loop. Several pools, because what replicas answer must never wait
/// for what the host holds: a host's read that waits for a peer would otherwise wait for memory that only its
/// own end sets free. Every block has holders (the host's request, the window, messages under way, replicas),
/// and is free when the last of them has returned it. Used on the loop's thread.
/// </summary>
/// <param name="incoming">
/// Where what writers of other nodes send lies; null where there are none. Owned here.
/// </param>
/// <param name="answers">Where answers of replicas lie; owned here.</param>
internal sealed class VolumeMemory(PayloadPool? incoming, PayloadPool answers)
{
    /// <summary>
    /// Kept of the answers for short questions with payload, in bytes: 256 pages, where a writer has at most
    /// 8 regions under way to 7 replicas.
    /// </summary>
    private const long QuestionBytes = PayloadPool.MaxBlockBytes;

    /// <summary>Bytes of the pool of answers: reads of a few peers, and the questions.</summary>
    public const long AnswerBytes = 8 * PayloadPool.MaxBlockBytes;

    /// <summary>
    /// Where the host's writes lie: shared with the frontend, and its owner's; null while the volume is not
    /// attached here.
    /// </summary>
    public PayloadPool? Host { get; set; }

    /// <summary>Where what other nodes write lies.</summary>
    public PayloadPool? Incoming => incoming;

    /// <summary>Where answers lie.</summary>
    public PayloadPool Answers => answers;

    /// <summary>Takes a block for an answer; false when there is none now.</summary>
    /// <param name="lengthBytes">1 to 1 MiB.</param>
    /// <param name="buffer">The block.</param>
    public bool TryRentAnswer(int lengthBytes, out IoBuffer buffer)
    {
        buffer = default;
        return answers.FreeBytes >= lengthBytes + QuestionBytes && answers.TryRent(lengthBytes, out buffer);
    }

    /// <summary>A block with a copy of short bytes.</summary>
    /// <param name="bytes">At most a page.</param>
    /// <exception cref="InvalidOperationException">More questions are under way than was agreed.</exception>
    public IoBuffer CopyOf(ReadOnlySpan<byte> bytes)
    {
        if (!answers.TryRent(bytes.Length, out IoBuffer buffer))
        {
            throw new InvalidOperationException("there is no memory for the payload of another question");
        }

        bytes.CopyTo(buffer.Span);
        return buffer;
    }

    /// <summary>One more holder of a block.</summary>
    /// <param name="buffer">A block of one of the pools.</param>
    public void Share(in IoBuffer buffer) => PoolOf(buffer).Share(buffer);

    /// <summary>A holder gives a block back.</summary>
    /// <param name="buffer">A block of one of the pools.</param>
    public void Return(in IoBuffer buffer) => PoolOf(buffer).Return(buffer);

    /// <summary>Frees what is owned here; nobody holds anything of it.</summary>
    public void Free()
    {
        answers.Dispose();
        incoming?.Dispose();
    }

    /// <summary>The pool that a block is of.</summary>
    /// <param name="buffer">The block.</param>
    public PayloadPool PoolOf(in IoBuffer buffer) => answers.Owns(buffer) ? answers
        : incoming is not null && incoming.Owns(buffer) ? incoming : Host!;
}

/// <summary>
/// What one party (the writer, or a replica) holds of a volume's memory: its machine returns block by block,
/// and when the machine is given up the rest goes back at once.
/// </summary>
/// <param name="memory">The memory.</param>
internal sealed class PayloadHolder(VolumeMemory memory)
{
    private readonly List<(PayloadPool Pool, PayloadAccount Account)> _accounts = [];

    /// <summary>Blocks held.</summary>
    public int Count
    {
        get
        {
            int count = 0;
            foreach ((_, PayloadAccount account) in _accounts)
            {
                count += account.Count;
            }

            return count;
        }
    }

    /// <summary>A share of a block is this party's from now on.</summary>
    /// <param name="buffer">The block; an empty one is none.</param>
    public void Take(in IoBuffer buffer)
    {
        if (buffer.LengthBytes > 0)
        {
            AccountOf(buffer).Add(buffer);
        }
    }

    /// <summary>A share of a block is somebody else's from now on.</summary>
    /// <param name="buffer">The block.</param>
    public void Pass(in IoBuffer buffer) => AccountOf(buffer).Remove(buffer);

    /// <summary>A share of a block is no longer needed.</summary>
    /// <param name="buffer">The block.</param>
    public void Return(in IoBuffer buffer)
    {
        Pass(buffer);
        memory.Return(buffer);
    }

    /// <summary>The party is given up.</summary>
    public void ReturnAll()
    {
        foreach ((_, PayloadAccount account) in _accounts)
        {
            account.ReturnAll();
        }
    }

    /// <summary>Whether something of a pool is held.</summary>
    /// <param name="pool">The pool.</param>
    public bool Holds(PayloadPool pool) =>
        _accounts.Exists(known => known.Pool == pool && known.Account.Count > 0);

    /// <summary>Forgets a pool of which nothing is held.</summary>
    /// <param name="pool">The pool.</param>
    public void Forget(PayloadPool pool) => _accounts.RemoveAll(known => known.Pool == pool);

    private PayloadAccount AccountOf(in IoBuffer buffer)
    {
        PayloadPool pool = memory.PoolOf(buffer);
        foreach ((PayloadPool known, PayloadAccount account) in _accounts)
        {
            if (known == pool)
            {
                return account;
            }
        }

        var created = new PayloadAccount(pool);
        _accounts.Add((pool, created));
        return created;
    }
}
