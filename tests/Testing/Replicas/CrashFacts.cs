using System.Globalization;
using System.Text;
using Ublk.Replication.Store;
using Ublk.Wire;

namespace Ublk.Testing.Replicas;

/// <summary>A crash has left what must not be.</summary>
/// <param name="message">What, for people.</param>
public sealed class CrashException(string message) : Exception(message);

/// <summary>An operation, or a copied piece, that the image was given.</summary>
/// <param name="Sequence">Its sequence; 0 of a piece.</param>
/// <param name="OffsetBytes">Start.</param>
/// <param name="LengthBytes">Length.</param>
/// <param name="Stamp">What its sectors hold then; 0 for zeros.</param>
/// <param name="IsCertain">Whether it was said before the crash.</param>
public readonly record struct IssuedChange(
    ulong Sequence, long OffsetBytes, long LengthBytes, ulong Stamp, bool IsCertain);

/// <summary>
/// What a replica has said until it was stopped, one line each. Lines from the crash on are not certain:
/// what they say may or may not have happened.
/// <code>
/// base FIRST COUNT STAMP      sectors of the image when it was opened
/// based                       that was all of them; nothing was given to the image before
/// joins EPOCH POSITION        from then on an epoch whose pieces lie underneath what is above the position
/// record NUMBER DIGEST        a record is durable, and the state is then the one with the digest
/// promised EPOCH, started EPOCH, durable SEQUENCE, granted MS, configured NUMBER SIZE, copied REGION
/// issue SEQUENCE OFFSET LENGTH STAMP, piece OFFSET LENGTH
///                             given to the image; the line comes before the first byte
/// ended SEQUENCE              the image has it
/// applied SEQUENCE            told to the writer
/// </code>
/// </summary>
public sealed class CrashFacts
{
    private readonly Dictionary<ulong, uint> _digests = [];
    private readonly HashSet<ulong> _ended = [];

    /// <summary>The image as it was opened: the stamp of each sector.</summary>
    public List<ulong> Base { get; } = [];

    /// <summary>Whether that is all of the image; if not, the image was given nothing.</summary>
    public bool IsBased { get; private set; }

    /// <summary>Last record that was said to be durable.</summary>
    public ulong LastRecord { get; private set; }

    /// <summary>Last record that was said to be durable by then or later.</summary>
    public ulong HighestRecord { get; private set; }

    /// <summary>Highest epoch promised.</summary>
    public ulong Promised { get; private set; }

    /// <summary>Highest epoch started.</summary>
    public ulong Started { get; private set; }

    /// <summary>Highest sequence said to be on stable media.</summary>
    public ulong Durable { get; private set; }

    /// <summary>Longest lease granted, in milliseconds.</summary>
    public uint GrantedMs { get; private set; }

    /// <summary>Highest configuration recorded.</summary>
    public ulong Configuration { get; private set; }

    /// <summary>Its size of the volume, in bytes.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>The epoch that joined, and the position it goes on from; 0 when there was none.</summary>
    public (ulong Epoch, ulong Position) Joined { get; private set; }

    /// <summary>Regions said to be whole again.</summary>
    public HashSet<int> Copied { get; } = [];

    /// <summary>Operations said to be applied.</summary>
    public HashSet<ulong> Applied { get; } = [];

    /// <summary>What the image was given, in this order.</summary>
    public List<IssuedChange> Issued { get; } = [];

    /// <summary>Whether an operation may be claimed: the image had all of it.</summary>
    public bool HasEnded(ulong sequence) => _ended.Contains(sequence);

    /// <summary>The digest of the state after a record; null where nobody lived to say it.</summary>
    public uint? DigestAfter(ulong record) =>
        _digests.TryGetValue(record, out uint digest) ? digest : null;

    /// <summary>A digest of a state.</summary>
    public static uint DigestOf(MetadataState state) =>
        Crc32C.Compute(Encoding.UTF8.GetBytes(StateText.Of(state)));

    /// <summary>Lines that tell what an image holds.</summary>
    public static IEnumerable<string> LinesOf(ulong[] stamps)
    {
        for (int first = 0; first < stamps.Length;)
        {
            int end = first + 1;
            while (end < stamps.Length && stamps[end] == stamps[first])
            {
                end++;
            }

            yield return $"base {first} {end - first} {stamps[first]}";
            first = end;
        }
    }

    /// <summary>Takes a line.</summary>
    /// <param name="line">The line.</param>
    /// <param name="isCertain">Whether it was said before the crash.</param>
    /// <exception cref="FormatException">It is none of these.</exception>
    public void Add(string line, bool isCertain)
    {
        string[] words = line.Split(' ');
        ulong Number(int at) => ulong.Parse(words[at], CultureInfo.InvariantCulture);
        switch (words[0])
        {
            case "base":
                Base.AddRange(Enumerable.Repeat(Number(3), (int)Number(2)));
                break;
            case "based":
                IsBased = true;
                break;
            case "joins":
                Joined = (Number(1), Number(2));
                break;
            case "record":
                _digests[Number(1)] = (uint)Number(2);
                HighestRecord = Math.Max(HighestRecord, Number(1));
                LastRecord = isCertain ? Number(1) : LastRecord;
                break;
            case "issue":
                Issued.Add(new IssuedChange(
                    Number(1), (long)Number(2), (long)Number(3), Number(4), isCertain));
                break;
            case "piece":
                Issued.Add(new IssuedChange(0, (long)Number(1), (long)Number(2), 0, isCertain));
                break;
            case "ended":
                _ended.Add(Number(1));
                break;
            default:
                if (isCertain)
                {
                    AddTold(words[0], Number);
                }

                break;
        }
    }

    // What was told before the crash holds after it; what was told later binds nobody.
    private void AddTold(string kind, Func<int, ulong> number)
    {
        ulong value = number(1);
        switch (kind)
        {
            case "promised":
                Promised = Math.Max(Promised, value);
                break;
            case "started":
                Started = Math.Max(Started, value);
                break;
            case "durable":
                Durable = Math.Max(Durable, value);
                break;
            case "granted":
                GrantedMs = Math.Max(GrantedMs, (uint)value);
                break;
            case "configured":
                Configuration = value;
                SizeBytes = (long)number(2);
                break;
            case "copied":
                Copied.Add((int)value);
                break;
            case "applied":
                Applied.Add(value);
                break;
            default:
                throw new FormatException($"a line of kind {kind}");
        }
    }
}
