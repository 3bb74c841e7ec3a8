using System.Numerics;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ublk.Tests.Unit.Tidy;

namespace Ublk.Tests.Unit.Uring;

/// <summary>
/// What the C headers say (<c>tests/Unit/Abi/linux-abi.txt</c>, written by <c>eng/abi-fixtures</c>), and
/// what the C# declarations say, in the same words.
/// </summary>
internal sealed class AbiFacts
{
    private const BindingFlags Constants =
        BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;

    private const BindingFlags Fields =
        BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    private readonly Dictionary<string, BigInteger> _facts = new(StringComparer.Ordinal);

    private AbiFacts(IEnumerable<string> lines)
    {
        foreach (string line in lines)
        {
            if (line.StartsWith('#') || line.Length == 0)
            {
                continue;
            }

            int cut = line.LastIndexOf(' ');
            _facts[line[..cut]] = BigInteger.Parse(line[(cut + 1)..]);
        }
    }

    public static string Path => System.IO.Path.Combine(Repository.Root, "tests/Unit/Abi/linux-abi.txt");

    public static AbiFacts Load() => new(File.ReadAllLines(Path));

    public BigInteger Size(string structure) => Fact($"size {structure}");

    public BigInteger Constant(string name) => Fact($"const {name}");

    /// <summary>
    /// Place and width of a member; <c>a/b.c</c> is member c of structure b, which is member a.
    /// </summary>
    public (BigInteger Offset, BigInteger Width) Member(string structure, string path)
    {
        int nested = path.IndexOf('/', StringComparison.Ordinal);
        if (nested < 0)
        {
            return (Fact($"offset {structure}.{path}"), Fact($"width {structure}.{path}"));
        }

        string inner = path[(nested + 1)..];
        return (Fact($"offset {structure}.{path[..nested]}") + Fact($"offset {inner}"),
            Fact($"width {inner}"));
    }

    public static int SizeOf(Type type) => (int)typeof(Unsafe)
        .GetMethod(nameof(Unsafe.SizeOf))!.MakeGenericMethod(type).Invoke(null, null)!;

    public static IEnumerable<FieldInfo> FieldsOf(Type type) => type.GetFields(Fields);

    public static int OffsetOf(FieldInfo field) => field.GetCustomAttribute<FieldOffsetAttribute>()!.Value;

    public static IEnumerable<FieldInfo> ConstantsOf(Type type) =>
        type.GetFields(Constants).Where(field => field.IsLiteral);

    public static BigInteger ValueOf(FieldInfo constant)
    {
        object value = constant.GetRawConstantValue()!;
        return value is ulong large ? large : Convert.ToInt64(value);
    }

    private BigInteger Fact(string key) => _facts.TryGetValue(key, out BigInteger value)
        ? value
        : throw new KeyNotFoundException($"'{key}' is not in {Path}; see eng/abi-fixtures");
}
