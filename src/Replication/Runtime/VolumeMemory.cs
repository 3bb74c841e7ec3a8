using Ublk.Uring;

namespace Ublk.Replication.Runtime;

/// <summary>
/// The memory of a volume's payload on one loop. Two pools, because what replicas answer must never wait for
/// what the host holds: a host's read that waits for a peer would otherwise wait for memory that only its
/// own end sets free. Every block has holders (the host's request, the window, messages under way, replicas),
/// and is free when the last of them has returned it. Used on the loop's thread.
/// </summary>
/// <param name="host">Where writes of the host lie; shared with the frontend, and its owner's.</param>
/// <param name="answers">Where answers of replicas lie; owned here.</param>
internal sealed class VolumeMemory(PayloadPool host, PayloadPool answers)
{
    /// <summary>
    /// Kept of the answers for short questions with payload, in bytes: 256 pages, where a writer has at most
    /// 8 regions under way to 7 replicas.
    /// </summary>
    private const long QuestionBytes = PayloadPool.MaxBlockBytes;

    /// <summary>Bytes of the pool of answers: reads of a few peers, and the questions.</summary>
    public const long AnswerBytes = 8 * PayloadPool.MaxBlockBytes;

    /// <summary>Where the host's writes lie.</summary>
    public PayloadPool Host => host;

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
    /// <param name="buffer">A block of either pool.</param>
    public void Share(in IoBuffer buffer) => PoolOf(buffer).Share(buffer);

    /// <summary>A holder gives a block back.</summary>
    /// <param name="buffer">A block of either pool.</param>
    public void Return(in IoBuffer buffer) => PoolOf(buffer).Return(buffer);

    /// <summary>Frees what is owned here; nobody holds anything of it.</summary>
    public void Free() => answers.Dispose();

    private PayloadPool PoolOf(in IoBuffer buffer) => answers.Owns(buffer) ? answers : host;
}

/// <summary>
/// What one party (the writer, or a replica) holds of a volume's memory: its machine returns block by block,
/// and when the machine is given up the rest goes back at once.
/// </summary>
/// <param name="memory">The memory.</param>
internal sealed class PayloadHolder(VolumeMemory memory)
{
    private readonly PayloadAccount _host = new(memory.Host);
    private readonly PayloadAccount _answers = new(memory.Answers);

    /// <summary>Blocks held.</summary>
    public int Count => _host.Count + _answers.Count;

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
        _host.ReturnAll();
        _answers.ReturnAll();
    }

    private PayloadAccount AccountOf(in IoBuffer buffer) =>
        memory.Answers.Owns(buffer) ? _answers : _host;
}
